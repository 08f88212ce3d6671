/**
 * The seal of a record: the format that it is written in, and a checksum of all that it says. It tells a record that is as it was
 * written from one that a person edited or a disk lost a part of, and from one of a version that says more than this one
 * understands. It does not keep out who wants to deceive. @pure
 */
import { crc32 } from 'node:zlib'

/** Raised when a record means something that the versions before would misread. */
export const recordFormat = 1

export type Cell = null | number | bigint | string
export type Row = Record<string, Cell>

/** The row with its seal. */
export function sealed(row: Row, format = recordFormat): Row {
  const whole = { ...row, format }
  return { ...whole, checksum: checksumOf(whole) }
}

/** Why a row cannot be taken at its word; null: it is sound, or older than seals. */
export function brokenSeal(row: Row): string | null {
  const { format = null, checksum = null } = row
  if (format === null && checksum === null) return null
  if (checksumOf(row) !== checksum) return 'it is not as it was written (its checksum is wrong)'
  if (typeof format === 'number' && format <= recordFormat) return null
  return `a newer Tidegate wrote it (format ${format}; this one knows ${recordFormat})`
}

/** What the store keeps beside a record, and what is empty, is not in it: columns that are added later break no seal. */
const beside = ['rank', 'checksum', 'entries', 'found']

function checksumOf(row: Row): number {
  const cells = Object.entries(row).filter(([name, cell]) => cell !== null && !beside.includes(name))
  return crc32(JSON.stringify(cells.sort(([a], [b]) => (a < b ? -1 : 1))))
}
