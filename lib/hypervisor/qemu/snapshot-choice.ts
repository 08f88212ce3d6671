/**
 * How a new VM's memory is kept, which decides how it is saved later: in a file that is copied, or in none, from where QEMU
 * writes it while the VM runs on. The file is the quicker way to a first clone (a copy and no more; the other way also reads
 * a stream into a file); its price is that the source stands still for the copy, about a second for each GiB in use.
 */
import { TidegateError } from '../../errors.ts'
import { askAbilities } from './abilities.ts'
import type { InstanceFacts } from './record.ts'
import type { QemuOptions, QemuTemplate } from './template.ts'

export interface Choice {
  readonly memory: Exclude<InstanceFacts['memory'], 'private'>
  /** In people's words. */
  readonly reason: string
}

/** Above this, copying would stop the source for longer than clients should wait. */
const copiedBytesMax = 1024 ** 3

/** Throws `hypervisor_unsupported` when the background is asked for and cannot be had. */
export async function chooseSnapshot(
  template: Pick<QemuTemplate, 'snapshot'>,
  options: Pick<QemuOptions, 'snapshot' | 'binary'>,
  memoryBytes: number,
): Promise<Choice> {
  const choice = template.snapshot ?? options.snapshot
  if (choice === 'copy') return { memory: 'shared', reason: 'as configured' }
  if (choice === 'auto' && memoryBytes > 0 && memoryBytes <= copiedBytesMax) {
    return { memory: 'shared', reason: 'its memory is copied quickly' }
  }
  const { background, backgroundReason, version } = await askAbilities(options.binary)
  if (choice === 'background') {
    if (background) return { memory: 'anonymous', reason: 'as configured' }
    throw new TidegateError(
      'hypervisor_unsupported',
      `snapshot: background is not to be had here: ${backgroundReason}; set snapshot: copy`,
    )
  }
  if (memoryBytes === 0) {
    const large = background ? 'in the background' : `copied too (${backgroundReason})`
    return { memory: 'shared', reason: `up to 1 GiB; above that ${large} (QEMU ${version})` }
  }
  return background
    ? { memory: 'anonymous', reason: 'its memory is too large to stand still for' }
    : { memory: 'shared', reason: backgroundReason }
}
