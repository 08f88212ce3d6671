/** Checksums of a snapshot's files: made when it is taken, compared before a clone is started from it. */
import { join } from 'node:path'
import { checksum, rememberWritten, verifyFile } from '../checksums.ts'
import { files, type Machine } from './calls.ts'

const small = [files.state, files.env]
const large = ({ disk }: Machine) => (disk === 'own' ? [files.memory, files.disk] : [files.memory])

/** The large ones are read again only when they are to be kept. */
export async function sumFiles(
  directory: string,
  machine: Machine,
  keep: boolean,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const sums: Record<string, string> = {}
  for (const name of keep ? [...small, ...large(machine)] : small) {
    sums[name] = await checksum(join(directory, name), signal)
  }
  if (!keep) for (const name of large(machine)) await rememberWritten(join(directory, name))
  return sums
}

/** Throws `snapshot_unusable`. */
export async function verifyFiles(
  snapshot: { readonly name: string; readonly path: string },
  machine: Machine,
  checksums: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  for (const file of [...small, ...large(machine)]) {
    await verifyFile(join(snapshot.path, file), checksums[file] ?? null, snapshot.name, signal)
  }
}
