import t from 'tap'
import {
  readsFormat,
  requireSupported,
  whyNotLoadable,
} from '../../../../lib/hypervisor/firecracker/versions.ts'

t.test('old ones and a broken one are refused, with what to install', async t => {
  for (const version of ['1.13.0', '1.14.2', '1.15.1', '1.16.1', '1.17.0', '2.0.0']) {
    t.doesNotThrow(() => requireSupported(version), version)
  }
  for (const version of ['0.25.0', '1.4.0', '1.12.1', 'unknown']) {
    t.throws(
      () => requireSupported(version),
      { code: 'hypervisor_unsupported', message: /1\.13\.0 or later/ },
      version,
    )
  }
  t.throws(() => requireSupported('1.16.0'), { message: /install 1\.16\.1/ }, 'dead vsock after a restore')
})

t.test('a format is read by the same major and a minor not older', async t => {
  t.ok(readsFormat('10.0.0', '10.0.0'))
  t.ok(readsFormat('10.2.0', '10.1.7'))
  t.notOk(readsFormat('10.1.0', '10.2.0'))
  t.notOk(readsFormat('10.0.0', '9.0.0'))
  t.notOk(readsFormat('9.0.0', '10.0.0'))
  t.notOk(readsFormat('', '10.0.0'), 'what says nothing reads nothing')
})

t.test('a snapshot is for one format, CPU and host kernel', async t => {
  const host = { cpu: 'A', kernel: '6.1.0' }
  const binary = { version: '1.16.1', format: '10.0.0' }
  const taken = { ...binary, ...host }
  t.equal(whyNotLoadable(taken, binary, host), null)
  t.match(whyNotLoadable({ ...taken, version: '1.15.1', format: '9.0.0' }, binary, host), {
    why: 'version',
    message: /1\.15\.1 .* cannot read/,
  })
  t.match(whyNotLoadable(taken, binary, { ...host, cpu: 'B' }), { why: 'cpu', message: /another CPU/ })
  const upgraded = whyNotLoadable(taken, binary, { ...host, kernel: '6.18.0' })
  t.match(upgraded, { why: 'kernel', message: /another kernel/ })
})
