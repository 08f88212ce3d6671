/** Answers from the grammar, one after another, through the lab. */
import { generateAnswer } from './answer-grammar.ts'
import { AnswerLab } from './answer-lab.ts'
import type { Random } from './random.ts'
import type { Lane } from './run.ts'

export async function answerLane(random: Random): Promise<Lane> {
  const lab = new AnswerLab()
  await lab.open()
  return {
    step: async () => {
      const one = generateAnswer(random)
      const wrong = await lab.try(one)
      return wrong.map(what => ({ what, text: JSON.stringify(one) }))
    },
    close: () => lab.close(),
  }
}
