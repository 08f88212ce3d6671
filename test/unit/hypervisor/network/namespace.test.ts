/**
 * Namespaces for real, with a process in the guest's place behind the TAP's name. Where this machine gives no namespaces
 * (no root, no /dev/net/tun, no nftables) the refusal is what is tested.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openNamespaces } from '../../../../lib/hypervisor/network/namespace.ts'
import { hostPort, type Link } from '../../../../lib/hypervisor/network/network.ts'
import {
  namespaceName,
  namespacePrefix,
  parsePool,
  vethName,
} from '../../../../lib/hypervisor/network/plan.ts'
import { leftOut } from '../../../support/left-out.ts'
import { get } from '../../../support/load.ts'
import { until } from '../../../support/wait.ts'

const network = openNamespaces(parsePool('100.97.0.0/20', 'pool'))
const [checked] = await network.check()
const node = mkdtempSync(join(tmpdir(), 'tidegate-network-test-'))
t.teardown(async () => {
  rmSync(join(node, 'instances'), { recursive: true, force: true })
  await network.sweep(node)
  rmSync(node, { recursive: true, force: true })
})

const signal = () => AbortSignal.timeout(20_000)
const instance = (name: string) => {
  const directory = join(node, 'instances', name)
  mkdirSync(directory, { recursive: true })
  return directory
}
const request = (directory: string, outbound = false) => ({ directory, ports: [8080, 7070], outbound })
const ours = () => readdirSync('/run/netns').filter(name => name.startsWith(namespacePrefix(node)))
const links = () => execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' })
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' })

if (checked?.ok) {
  t.test('two guests of one address are reached apart, and go without a trace', twoGuests)
  t.test('what a crash leaves is swept, and nothing else', swept)
  t.test('an abort leaves nothing', aborted)
} else {
  leftOut(t, `network namespaces (run as root): ${checked?.detail}`)
  t.test('a machine without namespaces says what is missing', async t => {
    t.match(checked, { ok: false, code: 'network_unavailable', fix: /network: user/ })
    const attached = network.attach(request(instance('web-op1-1')), signal())
    await t.rejects(attached, { code: 'network_unavailable', message: /root|iproute2/ })
    await network.detach(instance('web-op1-1'))
    await network.sweep(node)
  })
}

async function twoGuests(t: Test): Promise<void> {
  const made = await Promise.all(
    ['web-op1-1', 'web-op1-2'].map(async name => {
      const directory = instance(name)
      const link = await network.attach(request(directory), signal())
      return { name, directory, link, guest: await standIn(t, directory, name) }
    }),
  )
  t.not(made[0]!.link.host, made[1]!.link.host)
  for (const { name, link } of made) {
    t.match(link, { kind: 'namespace', tap: { name: 'tap0' }, enter: ['nsenter', String, '--'] })
    const { body } = await get(hostPort(link, 8080), '/', { host: link.host })
    t.match(
      JSON.parse(body),
      { name, address: '10.0.2.15' },
      'the guest answers under its own address outside',
    )
    await t.rejects(get(9090, '/', { host: link.host, timeoutMs: 500 }), 'another port is closed')
  }
  for (const { directory, link, guest } of made) {
    guest.kill('SIGKILL')
    await network.detach(directory)
    await network.detach(directory)
    t.notOk(links().includes(vethName(link.host)), 'its interface is gone at once')
  }
  t.same(ours(), [])
}

/** Serves HTTP as 10.0.2.15 on the other side of an interface that has the TAP's place, and tells whether it gets out. */
async function standIn(t: Test, directory: string, name: string): Promise<ChildProcess> {
  const namespace = namespaceName(directory)
  const guest = `guest-of-${namespace}`
  ip('netns', 'add', guest)
  t.teardown(() => ip('netns', 'del', guest))
  ip('-n', namespace, 'link', 'del', 'tap0')
  ip('-n', namespace, 'link', 'add', 'tap0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', guest)
  ip('-n', namespace, 'addr', 'add', '10.0.2.2/24', 'dev', 'tap0')
  ip('-n', namespace, 'link', 'set', 'tap0', 'up')
  ip('-n', guest, 'addr', 'add', '10.0.2.15/24', 'dev', 'eth0')
  ip('-n', guest, 'link', 'set', 'eth0', 'up')
  ip('-n', guest, 'route', 'add', 'default', 'via', '10.0.2.2')
  const serve = `const http = require('node:http')
    for (const port of [8080, 9090]) http.createServer((request, response) => response.end(JSON.stringify(
      { name: ${JSON.stringify(name)}, address: request.socket.localAddress }))).listen(port, () => port === 9090 && console.log('up'))`
  const child = spawn('nsenter', [`--net=/run/netns/${guest}`, '--', process.execPath, '-e', serve])
  t.teardown(() => child.kill('SIGKILL'))
  await new Promise(resolve => child.stdout.once('data', resolve))
  return child
}

async function swept(t: Test): Promise<void> {
  const [kept, lost, busy] = ['web-op2-1', 'web-op2-2', 'web-op2-3'].map(instance) as [string, string, string]
  const made: Link[] = []
  for (const directory of [kept, lost, busy]) made.push(await network.attach(request(directory), signal()))
  const inside = spawn(made[2]!.enter[0]!, [...made[2]!.enter.slice(1), 'sleep', '60'])
  t.teardown(() => inside.kill('SIGKILL'))
  await until('something runs in it', () =>
    execFileSync('ip', ['netns', 'pids', namespaceName(busy)], { encoding: 'utf8' }).includes(
      String(inside.pid),
    ),
  )
  for (const directory of [lost, busy]) rmSync(directory, { recursive: true })
  await network.sweep(join(node, 'other'))
  t.equal(ours().length, 3, 'another node’s sweep touches none of them')
  await network.sweep(node)
  t.same(
    ours().sort(),
    [kept, busy].map(namespaceName).sort(),
    'only the one that nobody has and nothing runs in',
  )
  inside.kill('SIGKILL')
  await new Promise(resolve => inside.once('close', resolve))
  await network.sweep(node)
  t.same(ours(), [namespaceName(kept)])
  const again = network.attach(request(kept), signal())
  await t.rejects(again, { code: 'network_unavailable' }, 'a name that is taken')
}

async function aborted(t: Test): Promise<void> {
  const before = ours()
  const directory = instance('web-op3-1')
  await t.rejects(network.attach(request(directory), AbortSignal.abort(new Error('early'))), {
    message: 'early',
  })
  const stop = new AbortController()
  const attached = network.attach(request(directory), stop.signal)
  attached.catch(() => {})
  await until('it is begun', () => ours().length > before.length)
  stop.abort(new Error('midway'))
  await t.rejects(attached, { message: 'midway' })
  t.same(ours(), before)
}
