/** A script on the subject's core: runs `bench/pick.ts` and prints what it measured as one line of JSON. */
import { measurePick, measurePublishes } from '../../pick.ts'

const picks = await measurePick()
const publishes = await measurePublishes()
process.stdout.write(`${JSON.stringify({ picks, publishes })}\n`)
process.exit(0)
