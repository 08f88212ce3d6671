/** `doctor -c`: what a configuration needs of this machine, in a table with a remedy for each "no". It starts nothing and needs no server. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { wrapped } from '../../../lib/cli/table.ts'
import { cli } from '../../support/cli.ts'

interface Check {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  readonly fix?: string
  readonly needed: boolean
}

/** Where nobody listens: a server that is named must answer, so that alone is missing where all else is there. */
const env = { TIDEGATE_ADMIN: 'http://127.0.0.1:9' }

function file(t: Test, over: object = {}): { path: string; directory: string } {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-doctor-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'tidegate.yaml')
  const app = join(directory, 'app.js')
  writeFileSync(app, '')
  const node = { id: 'local', driver: 'process', options: { directory: join(directory, 'a/b/instances') } }
  const capacity = { cpus: 1, memory: '1GiB', disk: '1GiB' }
  const config = {
    listeners: [{ address: '127.0.0.1:0' }],
    store: { kind: 'memory' },
    nodes: [{ ...node, capacity }],
    clusters: [
      {
        id: 'web',
        routes: [{ host: '*', path: '/' }],
        instance: { driver: 'process', port: 8080, template: { command: ['node', app] } },
      },
    ],
    ...over,
  }
  writeFileSync(path, JSON.stringify(config))
  return { path, directory }
}

async function checks(path: string) {
  const { code, json } = await cli(['doctor', '-c', path, '--json'], { env })
  const { ok, checks } = json() as { ok: boolean; checks: Check[] }
  for (const { name, ok, fix } of checks) t.ok(ok || fix, `${name}: a remedy where it is needed`)
  t.equal(code, ok ? 0 : 1)
  const of = (name: string) => checks.find(check => check.name === name)
  const missing = checks.filter(({ ok, needed }) => needed && !ok).map(({ name }) => name)
  return { missing, checks, of }
}

t.test('a good one: its node, its driver with its template, and room on its disk', async t => {
  const { path } = file(t)
  const { missing, of, checks: all } = await checks(path)
  t.same(missing, ['server'])
  t.match(of('config'), { ok: true, detail: `${path} is good`, needed: true })
  t.match(of('local disk'), { ok: true, needed: true, detail: /GiB free for .*a\/b\/instances$/ })
  const ofNode = all.filter(({ name }) => name.startsWith('local (process) '))
  t.ok(ofNode.length >= 2)
  for (const check of ofNode) t.match(check, { ok: true, needed: true })
  const { out } = await cli(['doctor', '-c', path], { env })
  const [head, ...rows] = out.trimEnd().split('\n')
  t.match(head, /^HAS +CHECK +FOUND +REMEDY$/)
  const at = (title: string) => head!.indexOf(title)
  for (const row of rows.filter(row => row.startsWith('ok'))) t.equal(row.slice(at('REMEDY')), '', row)
  t.match(rows.find(row => row.startsWith('FAIL  server'))?.slice(at('REMEDY')), /^tidegate serve/)
})

t.test('every fault of the file, each with its fix, and no driver is asked', async t => {
  const { path } = file(t, { threads: -1, listeners: [] })
  const { missing, checks: all } = await checks(path)
  const faults = all.filter(({ name }) => name === 'config')
  t.ok(faults.length >= 2)
  t.same(missing, [...faults.map(() => 'config'), 'server'])
  for (const fault of faults)
    t.match(fault, { ok: false, needed: true, fix: String, detail: /tidegate\.yaml/ })
  const { code: shown, out, err } = await cli(['doctor', '-c', path], { env })
  t.equal(shown, 1)
  t.match(out, /^FAIL +config +\S/m)
  t.match(err, new RegExp(`${missing.length} of ${all.length} checks failed`))
  t.match(
    await cli(['doctor', '-c', join(path, 'nowhere'), '--json'], { env }),
    { code: 1 },
    'or no file at all',
  )
})

t.test('what a cluster needs and is not there fails; what only a node has does not', async t => {
  const capacity = { cpus: 1, memory: '1GiB', disk: '1GiB' }
  const nodes = [
    { id: 'vms', driver: 'qemu', capacity, options: { binary: '/nowhere/qemu' } },
    { id: 'odd', driver: 'qemu', capacity, options: { binray: 'x' } },
  ]
  const template = { kernel: '/nowhere/vmlinuz', initrd: '/nowhere/initrd' }
  const instance = { driver: 'qemu', port: 8080, template }
  const needing = file(t, { nodes, clusters: [{ id: 'web', routes: [{ host: '*', path: '/' }], instance }] })
  const { missing, of } = await checks(needing.path)
  t.same(missing, ['vms (qemu) qemu', 'vms (qemu) vm image', 'odd (qemu)', 'server'])
  t.match(of('vms (qemu) qemu'), { ok: false, needed: true, fix: 'npm run setup' })
  t.match(of('vms (qemu) vm image'), { ok: false, needed: true, fix: /build-image/ })
  t.match(of('odd (qemu)'), { ok: false, needed: true, detail: /binray/, fix: /nodes\[\]\.options of `odd`/ })

  const backends = [{ id: 'a', address: '127.0.0.1:1' }]
  const idle = file(t, {
    nodes: nodes.slice(0, 1),
    clusters: [{ id: 'web', routes: [{ host: '*', path: '/' }], backends }],
  })
  const unused = await checks(idle.path)
  t.match(unused.of('vms (qemu) qemu'), { ok: false, needed: false })
  t.match(unused.of('vms disk'), { needed: false })
  t.same(unused.missing, ['server'])
})

t.test('lines are broken between words', async t => {
  t.same(wrapped('one two three', 7), ['one two', 'three'])
  t.same(wrapped('a/path/that/is/long x', 7), ['a/path/that/is/long', 'x'], 'and never within one')
  t.same(wrapped('', 7), [''])
})
