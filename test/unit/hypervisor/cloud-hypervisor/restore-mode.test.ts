import t from 'tap'
import {
  chooseRestoreMode,
  restoreWord,
  seemsEager,
  snapshotsDamaged,
} from '../../../../lib/hypervisor/cloud-hypervisor/restore-mode.ts'
import { parseVersion, requireSupported } from '../../../../lib/hypervisor/cloud-hypervisor/version.ts'

const MiB = 2 ** 20
const auto = (version: string, memoryIsFile = false) =>
  chooseRestoreMode('auto', requireSupported(version), { memoryIsFile })

t.test('versions as they are said', async t => {
  t.match(parseVersion('53.0.0'), { major: 53, minor: 0 })
  t.match(parseVersion('v52.1-12-gabcdef'), { major: 52, minor: 1 })
  t.match(parseVersion('cloud-hypervisor v53.0-dirty'), { major: 53, minor: 0, text: '53.0-dirty' })
  for (const text of ['', 'main', '53', '.1', 'vv1.2']) t.equal(parseVersion(text), null, text)
})

t.test('what is too old, or does not say what it is, is refused by name', async t => {
  for (const text of ['51.0.0', 'cloud-hypervisor v53.0', '60.1'])
    t.doesNotThrow(() => requireSupported(text))
  const found = { 'cloud-hypervisor v50.2': '50.2', 'v30.0': '30.0', main: '"main"', '': '""' }
  for (const [text, words] of Object.entries(found)) {
    const message = `Cloud Hypervisor 51.0 or later is needed, and this one says that it is ${words}; `
    t.throws(
      () => requireSupported(text),
      { code: 'hypervisor_unsupported', details: { version: words } },
      text,
    )
    t.throws(() => requireSupported(text), { message: new RegExp(`^${message}install another and name it`) })
  }
})

t.test('the first sound mode by version', async t => {
  t.equal(auto('54.0.0'), 'copy_on_write')
  t.equal(auto('53.0.0'), 'copy', 'its on-demand fills in everything behind the guest’s back')
  t.equal(auto('52.0.0'), 'on_demand')
  t.equal(auto('51.1.0'), 'copy', 'which ignores a mode that it does not know')
  for (const version of ['51.0.0', '52.0.0', '54.0.0']) t.equal(auto(version, true), 'file_zone', version)
})

t.test('what is asked for by name is had or refused, never ignored', async t => {
  const choose = (choice: 'copy' | 'on_demand' | 'copy_on_write', version: string) =>
    chooseRestoreMode(choice, requireSupported(version), { memoryIsFile: false })
  t.equal(choose('on_demand', '53.0.0'), 'on_demand')
  t.equal(choose('copy', '54.0.0'), 'copy')
  const refused = {
    code: 'template_invalid',
    message: /restore: on_demand needs Cloud Hypervisor 52 and this is 51/,
  }
  t.throws(() => choose('on_demand', '51.1'), refused)
  t.throws(() => choose('copy_on_write', '53.0.0'), { code: 'template_invalid' })
  t.same(
    ['file_zone', 'copy', 'on_demand', 'copy_on_write'].map(mode => restoreWord(mode as 'copy')),
    [undefined, undefined, 'OnDemand', 'CopyOnWrite'],
  )
})

t.test('a lazy restore that read everything is seen by its resident memory', async t => {
  t.equal(seemsEager('copy_on_write', 411 * MiB, 384 * MiB), true, 'the silent fallback')
  t.equal(seemsEager('file_zone', 9 * MiB, 384 * MiB), false)
  t.equal(seemsEager('on_demand', 58 * MiB, 384 * MiB), false)
  t.equal(seemsEager('copy', 411 * MiB, 384 * MiB), false, 'which was meant')
  t.equal(seemsEager('file_zone', null, 384 * MiB), false, 'not measured is not known')
  t.equal(
    seemsEager('file_zone', 70 * MiB, 16 * MiB),
    false,
    'what the hypervisor itself takes does not count',
  )
})

t.test('only 52 damages a snapshot of what is still being filled in', async t => {
  t.equal(snapshotsDamaged('on_demand', parseVersion('52.0.0')), true)
  t.equal(snapshotsDamaged('on_demand', parseVersion('53.0.0')), false, 'it refuses by itself')
  t.equal(snapshotsDamaged('copy', parseVersion('52.0.0')), false)
})
