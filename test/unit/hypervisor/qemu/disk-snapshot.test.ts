/** A disk made ready to be saved, against a monitor that is in the middle of a copy, refuses, or falls silent. Real disks: `test/integration/qemu/chain.test.ts`. */
import { readdirSync } from 'node:fs'
import type { Socket } from 'node:net'
import { dirname } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { prepareDisk } from '../../../../lib/hypervisor/qemu/disk-snapshot.ts'
import { Qmp } from '../../../../lib/hypervisor/qemu/qmp.ts'
import { type Asked, answered, fakeMonitor, happened, refused } from '../../../support/fake-monitor.ts'

const limits = { timeoutMs: 5_000 }
const name = (n: number) => `disk-${n.toString(16).padStart(16, '0')}.qcow2`

/** What QEMU says of a disk on so many images. */
function chainOf(length: number): unknown {
  let image: object | undefined
  for (let n = 0; n < length; n++) {
    image = { filename: name(n), 'virtual-size': 2 ** 24, ...(image ? { 'backing-image': image } : {}) }
  }
  return [{ inserted: { 'node-name': 'disk', image } }]
}

async function prepared(t: Test, images: number, answer: (asked: Asked, socket: Socket) => string | null) {
  const did: string[] = []
  const path = await fakeMonitor(t, (asked, socket) => {
    if (!asked.execute.startsWith('query')) did.push(asked.execute)
    const said = answer(asked, socket)
    if (said !== null) socket.write(said)
    else if (asked.execute === 'query-block') socket.write(answered(asked, chainOf(images)))
    else socket.write(answered(asked, asked.execute === 'query-block-jobs' ? [] : {}))
  })
  const qmp = await Qmp.open(path, systemClock, limits)
  t.teardown(() => qmp.close())
  const disk = prepareDisk(qmp, dirname(path), limits)
  const left = () => readdirSync(dirname(path)).filter(file => file.endsWith('.qcow2'))
  return { disk, did, left }
}

t.test('a copy under way is ended, so that the moment does not wait for it', async t => {
  let jobs: unknown[] = [{ device: 'shorten' }]
  const { disk, did } = await prepared(t, 24, asked => {
    if (asked.execute === 'block-job-cancel') {
      jobs = []
      return happened('BLOCK_JOB_CANCELLED', { device: 'shorten' }) + answered(asked)
    }
    return asked.execute === 'query-block-jobs' ? answered(asked, jobs) : null
  })
  t.equal((await disk)?.chain.names.length, 24)
  t.same(did, ['block-job-cancel', 'blockdev-add'])
})

t.test(
  'of a chain that is much too long the copy is waited for: cancelled each time it would grow for ever',
  async t => {
    let asks = 0
    const { disk, did } = await prepared(t, 25, (asked, socket) => {
      if (asked.execute !== 'query-block-jobs') return null
      if (++asks === 2)
        setImmediate(() => socket.write(happened('BLOCK_JOB_COMPLETED', { device: 'shorten' })))
      return answered(asked, [{ device: 'shorten' }])
    })
    t.ok(await disk)
    t.same(did, ['blockdev-add'], 'nothing was cancelled')
  },
)

t.test('a copy that ended by itself in between is no error', async t => {
  let asks = 0
  const { disk } = await prepared(t, 10, asked => {
    if (asked.execute === 'block-job-cancel') return refused(asked, "Job 'shorten' not found")
    return asked.execute === 'query-block-jobs' ? answered(asked, asks++ === 0 ? [{}] : []) : null
  })
  t.ok(await disk)
})

t.test('an image that QEMU does not open is taken away; without a disk there is none', async t => {
  const { disk, left } = await prepared(t, 2, asked =>
    asked.execute === 'blockdev-add' ? refused(asked, 'Could not open') : null,
  )
  await t.rejects(disk, { code: 'hypervisor_failed', message: /Could not open/ })
  t.same(left(), [])
  const none = await prepared(t, 0, asked => (asked.execute === 'query-block' ? answered(asked, []) : null))
  t.equal(await none.disk, null)
})

t.test('an image of which QEMU did not say whether it opened it stays where it may be in use', async t => {
  const { disk, left } = await prepared(t, 2, (asked, socket) => {
    if (asked.execute === 'blockdev-add') socket.destroy()
    return null
  })
  await t.rejects(disk, { code: 'hypervisor_unreachable', details: { silence: 'cannot_tell', sent: true } })
  t.equal(left().length, 1)
})

t.test('one that was not needed after all goes, but not once the machine writes to it', async t => {
  const unused = await prepared(t, 2, () => null)
  await (await unused.disk)?.drop()
  t.same(unused.left(), [])
  const written = await prepared(t, 2, asked =>
    asked.execute === 'blockdev-del' ? refused(asked, 'Node is still in use') : null,
  )
  await (await written.disk)?.drop()
  t.equal(written.left().length, 1)
})
