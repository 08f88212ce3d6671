/** What QEMU says about itself, over the versions there are. */
import t from 'tap'
import { readAbilities } from '../../../../lib/hypervisor/qemu/abilities.ts'

const common = ['events', 'x-ignore-shared', 'pause-before-switchover']
/** Version → what its migration can do beyond that (QEMU's change logs 5.2 to 10.1), and what we read from it. */
const versions: readonly (readonly [string, readonly string[], { background: boolean }])[] = [
  ['5.2.0', [], { background: false }],
  ['6.0.0', ['background-snapshot'], { background: true }],
  ['7.2.22', ['background-snapshot', 'zero-copy-send'], { background: true }],
  ['8.2.4', ['background-snapshot', 'switchover-ack'], { background: true }],
  ['9.0.0', ['background-snapshot', 'mapped-ram'], { background: true }],
  ['10.1.0', ['background-snapshot', 'mapped-ram'], { background: true }],
]

function said(version: string, capabilities: readonly string[], arch = 'x86_64', refused?: string): string {
  const [major, minor, micro] = version.split('.').map(Number)
  const lines = [
    { QMP: { version: { qemu: { major, minor, micro }, package: '' }, capabilities: [] } },
    { return: {} },
    { return: { arch }, id: 'target' },
    { return: capabilities.map(capability => ({ capability, state: false })), id: 'capabilities' },
    refused === undefined
      ? { return: {}, id: 'background' }
      : { error: { class: 'GenericError', desc: refused }, id: 'background' },
    { event: 'SHUTDOWN' },
  ]
  return `${lines.map(line => JSON.stringify(line)).join('\r\n')}\r\nsomething else\n`
}

t.test('each version has what it has', async t => {
  for (const [version, more, expected] of versions) {
    t.match(readAbilities(said(version, [...common, ...more]), 'qemu'), { version, ...expected }, version)
  }
})

t.test('a kernel that does not let it is told in its words', async t => {
  const refused = 'Background-snapshot is not supported by host kernel'
  const abilities = readAbilities(said('7.2.0', ['background-snapshot'], 'x86_64', refused), 'qemu')
  t.match(abilities, { background: false, backgroundReason: refused })
  t.match(readAbilities(said('5.2.0', common), 'qemu').backgroundReason, /QEMU 5\.2\.0 has it not/)
})

t.test('too old, another processor, and something else altogether', async t => {
  const refusals: [string, RegExp][] = [
    [said('5.1.0', common), /qemu is QEMU 5\.1\.0; 5\.2 or newer is needed/],
    [said('8.0.0', common, 'aarch64'), /emulates aarch64, and x86_64 is needed/],
    ['hello', /does not answer as QEMU does/],
    ['', /does not answer as QEMU does/],
  ]
  for (const [text, message] of refusals) {
    t.throws(() => readAbilities(text, 'qemu'), { code: 'hypervisor_unsupported', message }, String(message))
  }
})
