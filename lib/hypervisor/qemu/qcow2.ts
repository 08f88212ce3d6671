/**
 * An empty disk image over another one: QEMU's format "qcow2", version 3 (QEMU docs/interop/qcow2.txt). @pure
 * Written by ourselves because it is a few hundred bytes, and starting `qemu-img` for them takes longer than all the rest
 * of a clone's disk. Clusters: 0 header, 1 table of the reference counts, 2 the counts, 3… the table of the guest's clusters.
 */
import { Buffer } from 'node:buffer'
import { TidegateError } from '../../errors.ts'

export interface Backing {
  readonly path: string
  readonly format: 'qcow2' | 'raw'
}

/** Pieces of a file that is zero everywhere else. */
export interface Pieces {
  readonly length: number
  readonly pieces: readonly { readonly at: number; readonly data: Buffer }[]
}

const clusterBits = 16
const clusterBytes = 2 ** clusterBits
/** Each entry of the first table leads to one cluster of 8-byte entries, each of which leads to a cluster. */
const bytesPerEntry = (clusterBytes / 8) * clusterBytes
const headerBytes = 104
const backingFormat = 0xe2792aca
const pathBytesMax = 1023
const magic = 0x514649fb
export const diskBytesMax = 16 * 1024 ** 4

export function emptyImage(virtualBytes: number, backing: Backing | null): Pieces {
  const entries = Math.max(1, Math.ceil(virtualBytes / bytesPerEntry))
  const tableClusters = Math.ceil((entries * 8) / clusterBytes)
  const clusters = 3 + tableClusters
  const header = Buffer.alloc(clusterBytes / 16)
  header.writeUInt32BE(magic, 0)
  header.writeUInt32BE(3, 4)
  header.writeUInt32BE(clusterBits, 20)
  header.writeBigUInt64BE(BigInt(virtualBytes), 24)
  header.writeUInt32BE(entries, 36)
  header.writeBigUInt64BE(BigInt(3 * clusterBytes), 40)
  header.writeBigUInt64BE(BigInt(clusterBytes), 48)
  header.writeUInt32BE(1, 56)
  header.writeUInt32BE(4, 96) // counts of 2^4 bits
  header.writeUInt32BE(headerBytes, 100)
  if (backing !== null) writeBacking(header, backing)
  const counts = Buffer.alloc(clusters * 2)
  for (let i = 0; i < clusters; i++) counts.writeUInt16BE(1, i * 2)
  const countsAt = Buffer.alloc(8)
  countsAt.writeBigUInt64BE(BigInt(2 * clusterBytes))
  return {
    length: clusters * clusterBytes,
    pieces: [
      { at: 0, data: header },
      { at: clusterBytes, data: countsAt },
      { at: 2 * clusterBytes, data: counts },
    ],
  }
}

/** Format and size, for the guest, of an image by its first bytes. A file without qcow2's mark is a raw disk. */
export function readImageHead(head: Buffer, fileBytes: number): { format: Backing['format']; bytes: number } {
  const qcow2 = head.length >= 32 && head.readUInt32BE(0) === magic
  if (!qcow2) return { format: 'raw', bytes: fileBytes }
  return { format: 'qcow2', bytes: Number(head.readBigUInt64BE(24)) }
}

/** An extension names the format, so that QEMU never guesses it from what a guest wrote; the path follows the extensions. */
function writeBacking(header: Buffer, { path, format }: Backing): void {
  const name = Buffer.from(path)
  if (name.length > pathBytesMax) {
    throw new TidegateError('template_invalid', `the path of a disk's base has at most ${pathBytesMax} bytes`)
  }
  header.writeUInt32BE(backingFormat, headerBytes)
  header.writeUInt32BE(format.length, headerBytes + 4)
  header.write(format, headerBytes + 8, 'latin1')
  // Padded to a multiple of eight, then the extension that ends them, all zero.
  const at = headerBytes + 8 + 8 + 8
  name.copy(header, at)
  header.writeBigUInt64BE(BigInt(at), 8)
  header.writeUInt32BE(name.length, 16)
}
