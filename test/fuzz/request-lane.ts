/** Request texts from the grammar, one after another, through the lab. */
import { cutsOf, generate } from './grammar.ts'
import type { Random } from './random.ts'
import { RequestLab } from './request-lab.ts'
import type { Lane } from './run.ts'

export async function requestLane(random: Random): Promise<Lane> {
  const lab = new RequestLab(random)
  await lab.open()
  return {
    step: async () => {
      const text = generate(random)
      const cuts = cutsOf(text, random)
      const patient = random.chance(0.5)
      const wrong = await lab.try(text, cuts, patient)
      return wrong.map(what => ({ what, text: JSON.stringify({ text, cuts, patient }) }))
    },
    close: () => lab.close(),
  }
}
