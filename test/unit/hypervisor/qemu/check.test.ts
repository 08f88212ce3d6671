/** What `doctor` says of this machine when no template is given. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { checkQemu } from '../../../../lib/hypervisor/qemu/check.ts'
import { parseOptions } from '../../../../lib/hypervisor/qemu/template.ts'

const names = ['qemu', 'disk', 'reflink', 'userfaultfd', 'accelerator', 'network namespaces']

t.test('a row for each thing, with what to do about it', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-check-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const look = (raw: Record<string, unknown>) => checkQemu(parseOptions(raw), directory, null, systemClock)
  const rows = await look({})
  t.same(
    rows.map(({ name }) => name),
    names,
  )
  for (const { name, ok, fix } of rows) t.ok(ok || fix, `${name} has a remedy`)
  t.same(
    rows.filter(({ advice }) => !advice).map(({ name }) => name),
    ['qemu'],
    'the rest is worth having',
  )
  t.same(readdirSync(directory), [], 'no trial is left')

  const missing = await look({ binary: '/nowhere/qemu', network: 'namespace' })
  const row = (wanted: string) => missing.find(({ name }) => name === wanted)
  t.match(row('qemu'), { ok: false, fix: 'npm run setup' })
  t.match(row('userfaultfd'), { ok: false, advice: true })
  t.equal(row('network namespaces')?.advice, undefined, 'who asks for namespaces needs them')
})
