/** The runner's own eyes: a failure that it did not see would be a check that cannot fail. */
import t from 'tap'
import { TapDigest } from '../../support/tap-digest.ts'

function digest(tap: string) {
  const said: string[] = []
  const digest = new TapDigest(line => said.push(line))
  for (const line of tap.split('\n')) digest.line(line)
  return { said, passed: digest.passed, failed: digest.failed }
}

t.test('assertions are counted once, whatever sums them up', async t => {
  const tap = `TAP version 14
# Subtest: a.test.ts
    # Subtest: one
        ok 1 - x
        ok 2 - y
        1..2
    ok 1 - one # time=1ms
    # Subtest: two
        ok 1 - z
        1..1
    ok 2 - two # time=1ms
    1..2
ok 1 - a.test.ts # time=1234.5ms
1..1`
  t.strictSame(digest(tap), { said: ['ok     a.test.ts 1.2 s'], passed: 3, failed: 0 })
})

t.test('a failure is counted and told with its diagnostics, and nothing else is', async t => {
  const tap = `# Subtest: a.test.ts
    # Subtest: one
        ok 1 - fine
        not ok 2 - broken
          ---
          diff: here
          ...
        1..2
    not ok 1 - one # time=1ms
    1..1
not ok 1 - a.test.ts # time=1ms
# Subtest: b.test.ts
    ok 1 - fine
    1..1
ok 2 - b.test.ts # time=2000ms`
  const { said, passed, failed } = digest(tap)
  t.strictSame([passed, failed], [2, 1])
  t.match(said.join('\n'), /FAILED a\.test\.ts[\s\S]*broken[\s\S]*diff: here[\s\S]*ok {5}b\.test\.ts 2\.0 s/)
  t.notMatch(said.join('\n'), /fine/)
})

t.test('a file that dies without an assertion is a failure', async t => {
  t.match(digest('not ok 1 - a.test.ts # time=9ms'), { passed: 0, failed: 1 })
})
