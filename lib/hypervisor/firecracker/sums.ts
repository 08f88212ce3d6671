/** Which files of a snapshot are held against their checksums. Its versions are held against this host's in `versions.ts`. */
import { sumSnapshot, verifyFiles } from '../checksums.ts'
import { files, type Machine } from './calls.ts'

const small = [files.state, files.env]
const large = ({ disk }: Machine) => (disk === 'own' ? [files.memory, files.disk] : [files.memory])

export const sumFiles = (
  directory: string,
  machine: Machine,
  keep: boolean,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> =>
  sumSnapshot(directory, { small, large: large(machine) }, keep, signal)

/** Throws `snapshot_unusable`. */
export const verifySnapshot = (
  snapshot: { readonly name: string; readonly path: string },
  machine: Machine,
  checksums: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> => verifyFiles(snapshot, [...small, ...large(machine)], checksums, signal)
