/** Checksums of snapshot files: what they find, and what they do not read again. */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  ftruncateSync,
  openSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checksum, rememberWritten, requireMaker, verifyFile } from '../../../lib/hypervisor/checksums.ts'

const dir = t.testdir()
let files = 0
const file = (content: string | Buffer) => {
  const path = join(dir, `f${files++}`)
  writeFileSync(path, content)
  return path
}

t.test('the same content has the same sum, any other has another', async t => {
  const memory = Buffer.alloc(3 * 1024 * 1024 + 7)
  memory[2_000_000] = 1
  const sum = await checksum(file(memory))
  t.equal(await checksum(file(memory)), sum)
  memory[3 * 1024 * 1024 + 6] = 1
  t.not(await checksum(file(memory)), sum)
  t.not(await checksum(file(Buffer.alloc(10))), await checksum(file(Buffer.alloc(11))))
  t.not(await checksum(file('')), await checksum(file(Buffer.alloc(1))))
})

t.test('a hole is as good as the zeros that it stands for', async t => {
  const sparse = join(dir, 'sparse')
  const fd = openSync(sparse, 'w')
  ftruncateSync(fd, 5_000_000)
  closeSync(fd)
  t.equal(await checksum(sparse), await checksum(file(Buffer.alloc(5_000_000))))
})

t.test('damage is found', async t => {
  const path = file('a state')
  const sum = await checksum(path)
  await verifyFile(path, sum, 's')
  writeFileSync(path, 'a stain')
  const why = (reason: string) => ({ code: 'snapshot_unusable', details: { snapshot: 's', why: reason } })
  await t.rejects(verifyFile(path, sum, 's'), why('checksum'))
  await t.rejects(verifyFile(join(dir, 'nowhere'), sum, 's'), why('unreadable'))
})

t.test('what is known is not read again until it changes', async t => {
  const path = file('a state')
  const sum = await checksum(path)
  const when = new Date(1_700_000_000_000)
  utimesSync(path, when, when)
  await verifyFile(path, sum, 's')
  // The same size and time: as far as the file system tells, nobody has touched it.
  writeFileSync(path, 'a stain')
  utimesSync(path, when, when)
  await verifyFile(path, sum, 's')
  chmodSync(path, 0o400)
  await verifyFile(path, sum, 's')
  chmodSync(path, 0o600)
  appendFileSync(path, 's')
  await t.rejects(verifyFile(path, sum, 's'), { code: 'snapshot_unusable' })
})

t.test('without a checksum only its writer may use it', async t => {
  const path = file('memory')
  await t.rejects(verifyFile(path, null, 's'), { code: 'snapshot_unusable', details: { why: 'no_checksum' } })
  await rememberWritten(path)
  await verifyFile(path, null, 's')
})

t.test('an aborted reading ends with the reason', async t => {
  const reason = new Error('enough')
  await t.rejects(checksum(file('x'), AbortSignal.abort(reason)), reason)
})

t.test('another program and another processor are told apart', async t => {
  const here = 'QEMU 7.2.22 on Xeon (aa)'
  requireMaker('s', here, here)
  const refused = (made: string | null) => () => requireMaker('s', made, here)
  t.throws(refused('QEMU 7.2.22 on Epyc (bb)'), { details: { why: 'cpu' }, message: /on the processor Epyc/ })
  t.throws(refused('QEMU 9.0.0 on Xeon (aa)'), { details: { why: 'version' }, message: /QEMU 9\.0\.0/ })
  t.throws(refused(null), { details: { why: 'version' }, message: /an older Tidegate/ })
})
