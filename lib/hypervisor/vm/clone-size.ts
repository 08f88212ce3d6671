/**
 * A clone has the size that its source had when it was saved, whatever the cluster says by now: a state is taken only by a
 * machine like the one that gave it. Who asks for it names that size, or the one that the source was made with. @pure
 */
import { TidegateError } from '../../errors.ts'
import type { CloneSpec } from '../driver.ts'

export interface Size {
  readonly cpus: number
  readonly memoryBytes: number
}

/** `made` and `had`: as whole as the driver makes them, and so is `wanted`. Throws `template_invalid`. */
export function requireSize(
  spec: Pick<CloneSpec, 'snapshot' | 'port'>,
  wanted: Size,
  { made, had, port }: { readonly made: Size; readonly had: Size; readonly port: number },
): void {
  const cpus = wanted.cpus >= Math.min(made.cpus, had.cpus) && wanted.cpus <= Math.max(made.cpus, had.cpus)
  const memory = [made.memoryBytes, had.memoryBytes].includes(wanted.memoryBytes)
  if (cpus && memory && spec.port === port) return
  throw new TidegateError(
    'template_invalid',
    `a clone has the memory, CPUs and port of its snapshot ${spec.snapshot}; take a new snapshot of an instance with these`,
    { details: { memory_bytes: had.memoryBytes, cpus: had.cpus, port } },
  )
}
