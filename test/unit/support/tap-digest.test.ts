/** The runner's own eyes: a failure that it did not see would be a check that cannot fail. */
import t from 'tap'
import { leftOut, notHere } from '../../support/left-out.ts'
import { TapDigest } from '../../support/tap-digest.ts'

function digest(tap: string) {
  const digest = new TapDigest()
  for (const line of tap.split('\n')) digest.line(line)
  const { passed, failed, ended } = digest
  return { passed, failed, ended, faults: digest.faults().join('\n') }
}

t.test('assertions are counted once, whatever sums them up', async t => {
  const tap = `TAP version 14
# Subtest: one
    # Subtest: deeper
        ok 1 - x
        ok 2 - y
        1..2
    ok 1 - deeper # time=1ms
    ok 2 - w
    1..2
ok 1 - one # time=1ms
# Subtest: two
    ok 1 - z
    1..1
ok 2 - two # time=1ms
ok 3 - plain
1..3`
  t.strictSame(digest(tap), { passed: 5, failed: 0, ended: true, faults: '' })
})

t.test('a failure is counted and told with its diagnostics, and nothing else is', async t => {
  const tap = `# Subtest: one
    ok 1 - fine
    not ok 2 - broken
      ---
      diff: here
      ...
    ok 3 - fine too
    1..3
not ok 1 - one # time=1ms
# Subtest: two
    ok 1 - fine
    1..1
ok 2 - two # time=2000ms
1..2`
  const { passed, failed, faults } = digest(tap)
  t.strictSame([passed, failed], [3, 1])
  t.match(faults, /not ok 2 - broken\n[\s\S]*diff: here[\s\S]*not ok 1 - one/)
  t.notMatch(faults, /fine/)
})

t.test('what a file leaves out is heard, at any depth, and apart from what no setup gives', async t => {
  const told = new TapDigest()
  const heard: string[] = []
  const says = { comment: (text: string) => void heard.push(`# ${text}`) }
  leftOut(says, 'namespaces: run as root')
  notHere(says, 'a real KVM')
  for (const line of [
    '# Subtest: one',
    `    ${heard[0]}`,
    '    ok 1 - LEFT OUT: no comment',
    heard[1]!,
    '# nothing LEFT OUT: x',
  ])
    told.line(line)
  t.strictSame([told.leftOut, told.notHere], [['namespaces: run as root'], ['a real KVM']])
  t.strictSame([told.passed, told.failed], [1, 0])
})

t.test('a file that dies in the middle, or says nothing, has not ended', async t => {
  const torn = `# Subtest: one
    ok 1 - fine
    1..1
ok 1 - one`
  t.match(digest(torn), { passed: 1, failed: 0, ended: false })
  t.match(digest(''), { passed: 0, failed: 0, ended: false })
})
