/**
 * The deadline of what writes or reads all of a VM's memory: a save, a copy, a restore. It grows with the memory, so that a large
 * VM is not given up half-way, and is the same for every hypervisor, because it is the disk that it waits for. @pure
 */

/** What such an act takes beside the disk, on a machine that has much to do. */
const baseMs = 60_000
/** 20 MB a second: a slower disk is not fit for it. What copies in an operation is given as long. */
const bytesPerMs = 20_000

export function memoryDeadlineMs(memoryBytes: number): number {
  return baseMs + Math.ceil(memoryBytes / bytesPerMs)
}
