/**
 * Which Firecracker may do what: its own version, and the version of the format that its snapshots have. @pure
 * A state is read only by a Firecracker of the same format major and the same or a later minor (its docs/snapshotting/
 * versioning.md), so snapshots do not survive most upgrades, and that is said before anything is started.
 */
import { TidegateError } from '../../errors.ts'

export interface Version {
  readonly major: number
  readonly minor: number
  readonly patch: number
}

/** What is known of a binary without starting a VM. */
export interface BinaryFacts {
  readonly version: string
  /** Of the snapshots it writes and reads. */
  readonly format: string
}

/** What a snapshot can only be restored on. */
export interface HostFacts {
  readonly cpu: string
  readonly kernel: string
}

/** Snapshots are no longer a preview from here on, and a state names its network devices so that they can be overridden. */
const versionMin: Version = { major: 1, minor: 13, patch: 0 }
/** Releases with a fault that a clone cannot live with, and what to take in their place. */
const refused: Readonly<Record<string, string>> = {
  '1.16.0': 'the vsock of a guest that it restored can stay dead for ever; install 1.16.1 or later',
}

export function parseVersion(text: string): Version | null {
  const parts = /(\d{1,5})\.(\d{1,5})\.(\d{1,5})/.exec(text)
  if (parts === null) return null
  return { major: Number(parts[1]), minor: Number(parts[2]), patch: Number(parts[3]) }
}

export const versionText = ({ major, minor, patch }: Version): string => `${major}.${minor}.${patch}`

/** Whether `version` is `minor` of major 1, or later. Features are named by the release that brought them. */
export function since(version: string, major: number, minor: number): boolean {
  const known = parseVersion(version)
  return known !== null && (known.major > major || (known.major === major && known.minor >= minor))
}

/** Throws `hypervisor_unsupported` for a Firecracker that this driver does not work with. */
export function requireSupported(version: string): void {
  const known = parseVersion(version)
  const { major, minor } = versionMin
  if (known === null || !since(version, major, minor)) {
    throw new TidegateError(
      'hypervisor_unsupported',
      `Firecracker ${version} is too old; install ${versionText(versionMin)} or later`,
    )
  }
  const fault = refused[versionText(known)]
  if (fault !== undefined) {
    throw new TidegateError('hypervisor_unsupported', `Firecracker ${version} is refused: ${fault}`)
  }
}

/** `why` is for machines, `message` for people. */
export interface Mismatch {
  readonly why: 'version' | 'cpu' | 'kernel'
  readonly message: string
}

/** Why this Firecracker on this machine cannot restore the snapshot; null when it can. */
export function whyNotLoadable(
  snapshot: BinaryFacts & HostFacts,
  binary: BinaryFacts,
  host: HostFacts,
): Mismatch | null {
  if (!readsFormat(binary.format, snapshot.format)) {
    const message =
      `it was taken by Firecracker ${snapshot.version} (format ${snapshot.format}), ` +
      `which Firecracker ${binary.version} (format ${binary.format}) cannot read`
    return { why: 'version', message }
  }
  if (snapshot.cpu !== host.cpu) {
    return { why: 'cpu', message: `it was taken on another CPU (${snapshot.cpu}; here is ${host.cpu})` }
  }
  if (snapshot.kernel !== host.kernel) {
    const kernels = `${snapshot.kernel}; here is ${host.kernel}`
    return { why: 'kernel', message: `it was taken under another kernel of the host (${kernels})` }
  }
  return null
}

/** Whether a binary of format `reader` reads a state of format `written`. */
export function readsFormat(reader: string, written: string): boolean {
  const ours = parseVersion(reader)
  const theirs = parseVersion(written)
  if (ours === null || theirs === null) return false
  return ours.major === theirs.major && theirs.minor <= ours.minor
}
