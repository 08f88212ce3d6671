/** The parts of the VM image's build that can be wrong without anybody noticing before a VM does not boot. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { closureOf } from '../../../examples/vm/closure.ts'
import { archive, file, link, program } from '../../../examples/vm/cpio.ts'
import { menderProgram } from '../../../examples/vm/mender.ts'
import { unpackKernel } from '../../../examples/vm/vmlinux.ts'

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'vm-image-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

t.test('the archive is what the kernel’s format says, in the same bytes each time', async t => {
  const entries = [
    program('bin/x', Buffer.from('abc')),
    file('a/b/c', Buffer.from('12345')),
    link('l', 'a/b'),
  ]
  const bytes = archive(entries)
  t.ok(bytes.equals(archive([...entries].reverse())), 'the order of entries does not matter')
  t.equal(bytes.length % 4, 0)
  t.same(listing(bytes), [
    ['a', 0o040755, ''],
    ['a/b', 0o040755, ''],
    ['a/b/c', 0o100644, '12345'],
    ['bin', 0o040755, ''],
    ['bin/x', 0o100755, 'abc'],
    ['l', 0o120777, 'a/b'],
    ['TRAILER!!!', 0, ''],
  ])
})

/** Read back by the format alone: a header of 110 hexadecimal characters, name and data each padded to four bytes. */
function listing(bytes: Buffer): [string, number, string][] {
  const found: [string, number, string][] = []
  const padded = (at: number) => Math.ceil(at / 4) * 4
  for (let at = 0; at < bytes.length; ) {
    const field = (n: number) =>
      Number.parseInt(bytes.toString('latin1', at + 6 + 8 * n, at + 14 + 8 * n), 16)
    const [mode, size, nameSize] = [field(1), field(6), field(11)]
    const name = bytes.toString('utf8', at + 110, at + 110 + nameSize - 1)
    const data = padded(at + 110 + nameSize)
    found.push([name, mode, bytes.toString('utf8', data, data + size)])
    at = padded(data + size)
  }
  return found
}

/** A packed kernel whose payload begins right behind its two sectors of set-up. */
function packedKernel(packed: Uint8Array, size: number): Buffer {
  const setup = Buffer.alloc(1024)
  setup[0x1f1] = 1
  setup.write('HdrS', 0x202, 'latin1')
  setup.writeUInt32LE(0, 0x248)
  setup.writeUInt32LE(packed.length + 4, 0x24c)
  const trailer = Buffer.alloc(4)
  trailer.writeUInt32LE(size)
  return Buffer.concat([setup, packed, trailer])
}

t.test('a packed kernel is unpacked, however it was packed', async t => {
  const kernel = Buffer.from(`\x7fELF${'ab'.repeat(300)}end`, 'latin1')
  t.ok(unpackKernel(packedKernel(gzipSync(kernel), kernel.length)).equals(kernel), 'gzip')
  t.ok(unpackKernel(packedKernel(zstdCompressSync(kernel), kernel.length)).equals(kernel), 'zstd')
  // LZ4: six literals, a copy of 598 bytes from two bytes before, which runs into itself, and three literals.
  const copied = 598 - 4 - 15
  const sequence = [0x6f, ...kernel.subarray(0, 6), 2, 0, 255, 255, copied - 510]
  const block = Buffer.from([...sequence, 0x30, ...kernel.subarray(-3)])
  const head = Buffer.from('02214c18', 'hex')
  const length = Buffer.alloc(4)
  length.writeUInt32LE(block.length)
  const lz4 = packedKernel(Buffer.concat([head, length, block]), kernel.length)
  t.ok(unpackKernel(lz4).equals(kernel), 'lz4')
  t.throws(() => unpackKernel(packedKernel(Buffer.alloc(64, 1), 64)), {
    message: /packed in a way that is not known/,
  })
  t.throws(() => unpackKernel(kernel), { message: /no packed kernel/ })
})

t.test('the closure follows imports, strips types, and is not fooled by comments', async t => {
  const root = folder(t)
  mkdirSync(join(root, 'lib'))
  writeFileSync(
    join(root, 'main.ts'),
    [
      '/** import x from "comment-package" */',
      "import { join } from 'node:path'",
      "import type { Gone } from './lib/types.ts'",
      'import {',
      '  helper,',
      "} from './lib/helper.ts'",
      "export const header = 'not-a-package'",
      "const late: Promise<unknown> = import('./lib/late.ts')",
      'helper(join, late)',
    ].join('\n'),
  )
  writeFileSync(join(root, 'lib/types.ts'), 'export interface Gone { a: 1 }')
  writeFileSync(
    join(root, 'lib/helper.ts'),
    "import { WebSocket } from 'ws'\nexport const helper = WebSocket as any",
  )
  writeFileSync(join(root, 'lib/late.ts'), "export { z } from '@scope/pkg/sub'")
  const { files, packages, main } = closureOf(root, 'main.ts')
  t.equal(main, 'main.js')
  t.same([...files.keys()].sort(), ['lib/helper.js', 'lib/late.js', 'main.js'])
  t.same([...packages].sort(), ['@scope/pkg', 'ws'])
  t.match(files.get('main.js'), /from '\.\/lib\/helper\.js'/)
  t.match(files.get('main.js'), /import\('\.\/lib\/late\.js'\)/)
  t.notMatch(files.get('main.js'), /Promise<unknown>/)
})

t.test('the mender takes whole records only', async t => {
  const path = join(folder(t), 'mender')
  writeFileSync(path, menderProgram(), { mode: 0o755 })
  const run = (input: Buffer) => spawnSync(path, { input, timeout: 5_000 })
  const nothing = Buffer.alloc(536)
  for (const [input, answers] of [
    [Buffer.alloc(0), 0],
    [Buffer.alloc(64, 7), 0],
    [nothing, 1],
    [Buffer.concat([nothing, nothing]), 2],
  ] as const) {
    const { status, stdout } = run(input)
    // A fault in the program would end it by a signal: null.
    t.equal(status, 1, `${input.length} bytes, then the end`)
    t.ok(stdout.equals(Buffer.alloc(answers)), `${answers} answers, all well`)
  }
})
