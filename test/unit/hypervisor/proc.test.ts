import t from 'tap'
import { factsOf } from '../../../lib/hypervisor/proc.ts'

/** As Linux wrote it, but for the state and how many threads there are. */
const stat = (state: string, threads: number) =>
  `291 (a (strange) name) ${state} 104 58 27 0 -1 4227084 1992 0 1 0 6 0 0 0 20 0 ${threads} 0 5616446 0 0 18446744073709551615 0 0 0`

t.test('a process, by its name whatever that is', async t => {
  t.strictSame(factsOf(291, stat('S', 3)), { pid: 291, group: 58, started: '5616446', paused: false })
  t.match(factsOf(291, stat('T', 1)), { paused: true })
  t.throws(() => factsOf(291, '291 (a) S 1'), { code: 'hypervisor_unreachable' })
})

t.test(
  'who has ended is gone when none of its threads is left: until then its sockets and disks are open',
  async t => {
    t.match(factsOf(291, stat('Z', 2)), { pid: 291 })
    t.equal(factsOf(291, stat('Z', 1)), null)
    t.equal(factsOf(291, stat('X', 0)), null)
  },
)
