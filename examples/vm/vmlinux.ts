/**
 * The kernel inside a packed one: what Firecracker boots. A bzImage is a small program that unpacks the rest of itself, and its
 * header says where that lies (Linux Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length).
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { Missing } from './missing.ts'

const sectorBytes = 512
/** What the kernel's build puts behind the packed data: how long it is unpacked. */
const trailerBytes = 4

export function unpackKernel(bzImage: Buffer): Buffer {
  if (bzImage.toString('latin1', 0x202, 0x206) !== 'HdrS')
    throw new Missing('this is no packed kernel', 'give a bzImage')
  const setup = (bzImage[0x1f1] || 4) + 1
  const from = setup * sectorBytes + bzImage.readUInt32LE(0x248)
  const payload = bzImage.subarray(from, from + bzImage.readUInt32LE(0x24c))
  const packed = payload.subarray(0, -trailerBytes)
  const size = payload.readUInt32LE(payload.length - trailerBytes)
  const kernel = unpackers[packed.readUInt32LE()]?.(packed, size) ?? unpackGzip(packed)
  if (kernel?.toString('latin1', 0, 4) === '\x7fELF') return kernel
  throw new Missing(
    'the kernel is packed in a way that is not known here',
    'scripts/extract-vmlinux of the Linux sources',
  )
}

const unpackers: Readonly<Record<number, (packed: Buffer, size: number) => Buffer>> = {
  407642370: unpackLz4,
  4247762216: packed => zstdDecompressSync(packed),
}

const unpackGzip = (packed: Buffer): Buffer | null =>
  packed.readUInt16BE() === 0x1f8b ? gunzipSync(packed) : null

/** LZ4's legacy frame: blocks, each behind its length (lz4 doc/lz4_Frame_format.md, lz4_Block_format.md). */
function unpackLz4(packed: Buffer, size: number): Buffer {
  const target = Buffer.alloc(size)
  let end = 0
  for (let at = 4; at < packed.length; ) {
    const length = packed.readUInt32LE(at)
    end = unpackBlock(packed.subarray(at + 4, at + 4 + length), target, end)
    at += 4 + length
  }
  return target.subarray(0, end)
}

/** Sequences of literals and of copies from what was unpacked before. Returns the end of what it wrote. */
function unpackBlock(block: Buffer, target: Buffer, start: number): number {
  let [at, end] = [0, start]
  const length = (nibble: number): number => {
    let sum = nibble
    if (nibble === 15) {
      let more = 255
      while (more === 255) {
        more = block[at++]!
        sum += more
      }
    }
    return sum
  }
  while (at < block.length) {
    const token = block[at++]!
    const literals = length(token >> 4)
    end += block.copy(target, end, at, at + literals)
    at += literals
    if (at >= block.length) break
    const offset = block.readUInt16LE(at)
    at += 2
    // A copy may run into what it is writing: byte by byte.
    for (let left = length(token & 15) + 4; left > 0; left--, end++) target[end] = target[end - offset]!
  }
  return end
}
