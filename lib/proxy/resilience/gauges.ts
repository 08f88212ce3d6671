/** What V8 says of this thread's memory: cheap enough to be asked ten times a second. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Gauges } from './overload.ts'

export const machineGauges: Gauges = {
  memoryBytes: () => {
    const { used_heap_size, external_memory, malloced_memory } = getHeapStatistics()
    return used_heap_size + external_memory + malloced_memory
  },
  heapShare: () => {
    const { used_heap_size, heap_size_limit } = getHeapStatistics()
    return used_heap_size / heap_size_limit
  },
  collect: () => {
    collector ??= collectorOf()
    collector()
  },
}

let collector: (() => void) | null = null

/** Node gives it to whoever asks for the flag, also while it runs; only a new context has it then. */
function collectorOf(): () => void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  setFlagsFromString('--no-expose-gc')
  return () => collect()
}
