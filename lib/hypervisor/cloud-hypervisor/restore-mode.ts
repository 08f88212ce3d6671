/**
 * How a clone gets its memory, chosen by what the snapshot has and by the version of Cloud Hypervisor. @pure
 *
 *   file_zone      the snapshot's memory is a file: it is mapped privately, pages are shared until written. Any version
 *   copy_on_write  the same by Cloud Hypervisor itself, from 54 on. It falls back to `copy` and says so in its log only
 *   on_demand      pages are read when first touched (userfaultfd), from 52 on
 *   copy           all is read before the clone runs
 *
 * `auto` takes the first of these that is sound. It leaves `on_demand` out from 53 on: there a thread fills in everything
 * behind the guest's back and takes the processor from it, so nothing is saved. A version that does not know a mode
 * ignores the word and copies, so nothing is asked for by name that the version does not have; and since `copy_on_write`
 * may degrade, what was meant to be lazy is measured (`seemsEager`).
 */
import { TidegateError } from '../../errors.ts'
import type { Version } from './version.ts'

export const restoreChoices = ['auto', 'copy', 'on_demand', 'copy_on_write'] as const
export type RestoreChoice = (typeof restoreChoices)[number]
export type RestoreMode = 'file_zone' | 'copy_on_write' | 'on_demand' | 'copy'

const onDemandSince = 52
const prefaultSince = 53
const copyOnWriteSince = 54
/** Share of the guest's memory that a lazily restored VM may have resident before it runs. */
const lazyShareMax = 0.5
/** What the hypervisor itself and its devices take, bytes. */
const ownBytes = 64 * 1024 * 1024

/** Throws `template_invalid` when the choice cannot be had with this version. */
export function chooseRestoreMode(
  choice: RestoreChoice,
  version: Version,
  snapshot: { readonly memoryIsFile: boolean },
): RestoreMode {
  // Its memory is in no other place, so there is nothing to choose.
  if (snapshot.memoryIsFile) return 'file_zone'
  const { major, text } = version
  if (choice === 'auto') {
    if (major >= copyOnWriteSince) return 'copy_on_write'
    return major >= onDemandSince && major < prefaultSince ? 'on_demand' : 'copy'
  }
  const since = { copy: 0, on_demand: onDemandSince, copy_on_write: copyOnWriteSince }[choice]
  if (major >= since) return choice
  throw new TidegateError(
    'template_invalid',
    `instance.template.restore: ${choice} needs Cloud Hypervisor ${since} and this is ${text}; use \`auto\``,
    { details: { field: 'instance.template.restore' } },
  )
}

/** The word for it in a restore request; undefined where none is needed. */
export function restoreWord(mode: RestoreMode): string | undefined {
  if (mode === 'on_demand') return 'OnDemand'
  return mode === 'copy_on_write' ? 'CopyOnWrite' : undefined
}

/** Did what was meant to be lazy read everything? `residentBytes` is measured before the clone runs. */
export function seemsEager(mode: RestoreMode, residentBytes: number | null, memoryBytes: number): boolean {
  if (mode === 'copy' || residentBytes === null) return false
  return residentBytes - ownBytes > memoryBytes * lazyShareMax
}

/** A snapshot taken of it would be damaged (52), or is refused until all is filled in (53 and later). */
export const snapshotsDamaged = (mode: RestoreMode, version: Version | null): boolean =>
  mode === 'on_demand' && (version?.major ?? 0) < prefaultSince
