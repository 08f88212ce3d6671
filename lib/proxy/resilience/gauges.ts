/** What V8 says of this thread's memory: cheap enough to be asked ten times a second. */
import { getHeapStatistics } from 'node:v8'
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
}
