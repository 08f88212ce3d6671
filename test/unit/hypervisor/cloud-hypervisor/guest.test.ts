import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { writeInitramfs } from '../../../../lib/hypervisor/cloud-hypervisor/guest.ts'
import { guestClient } from '../../../../lib/hypervisor/vm/guest.ts'

t.test(
  'the environment is a second archive behind the template’s, ours alone, and the template unharmed',
  async t => {
    const directory = mkdtempSync(join(tmpdir(), 'ch-guest-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const environment = "PORT='8080'\nODD='it'\\''s'\n"
    writeFileSync(join(directory, 'env'), environment)
    // Any length: the second archive begins at a multiple of four.
    for (const length of [5, 8, 10]) {
      const template = join(directory, 'template')
      writeFileSync(template, 'x'.repeat(length))
      await writeInitramfs(template, directory)
      const written = join(directory, 'initramfs')
      const bytes = readFileSync(written)
      const start = Math.ceil(length / 4) * 4
      t.equal(bytes.toString('latin1', 0, length), 'x'.repeat(length))
      t.equal(bytes.toString('latin1', start, start + 6), '070701')
      t.equal(readFileSync(template, 'utf8'), 'x'.repeat(length))
      t.equal(statSync(written).mode & 0o777, 0o600)
      t.match(bytes.toString('latin1'), /tidegate\/env\0/)
      t.ok(bytes.includes(environment))
      if (length === 8 && hasCpio()) {
        const list = execFileSync('cpio', ['-itv', '--quiet'], { input: bytes.subarray(start) }).toString()
        t.match(list, /^drwx------.* tidegate\n-rw-------.* tidegate\/env$/m, 'as cpio reads it')
      }
    }
  },
)

t.test('without a token there is nobody to ask', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'ch-guest-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  writeFileSync(join(directory, 'env'), "PORT='8080'\n")
  const client = guestClient(directory, { host: '127.0.0.1', port: 1 }, systemClock)
  await t.rejects(client, { code: 'guest_unreachable', message: /no token/ })
})

function hasCpio(): boolean {
  try {
    execFileSync('cpio', ['--version'])
    return true
  } catch {
    return false
  }
}
