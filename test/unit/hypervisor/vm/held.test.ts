/** Which snapshots count as complete, told from their records alone. */
import t from 'tap'
import { heldVmSnapshot } from '../../../../lib/hypervisor/vm/held.ts'
import { trustedIn } from '../../../../lib/hypervisor/vm/record.ts'

const owner = { installation: 'i', cluster: 'c', operation: 'o' }
const record = { version: 1, name: 's', owner, createdAtMs: 1, fields: {} } as const
const found = { name: 's', path: '/nowhere', record, problem: null }

t.test('another boot is trusted where checksums vouch for the files', async t => {
  const complete = async (boot: string | null, whole = true) =>
    (await heldVmSnapshot(found, () => ({ source: 'a', complete: whole, bytes: 1, boot }))).complete
  t.equal(await complete('another'), false)
  t.equal(await complete(null), true)
  t.equal(await complete(null, false), false, 'half written is half written')

  t.equal(trustedIn({ boot: 'then' }, 'ram'), 'then', 'no checksums at all')
  t.equal(trustedIn({ boot: 'then', checksums: { state: '1', env: '2' } }, 'ram'), 'then', 'only the small')
  t.equal(trustedIn({ boot: 'then', checksums: { state: '1', env: '2', ram: '3' } }, 'ram'), null)
})
