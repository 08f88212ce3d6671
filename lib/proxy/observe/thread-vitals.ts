/** How a thread's event loop and heap are, told once a second into its column of the counters. */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { Clock } from '../../clock.ts'
import type { CounterColumn } from './counters.ts'

const tellMs = 1_000
/** The delay is sampled this often, by the runtime itself. */
const sampleMs = 20
const nanosPerMs = 1e6

/** Returns what stops it. */
export function startVitals(counters: CounterColumn, clock: Clock): () => void {
  const delay = monitorEventLoopDelay({ resolution: sampleMs })
  delay.enable()
  let before = performance.eventLoopUtilization()
  const cancel = clock.every(tellMs, () => {
    const now = performance.eventLoopUtilization()
    counters.gauge('loopUtilization', performance.eventLoopUtilization(now, before).utilization)
    before = now
    // It measures the time between two samples; what is beyond the sampling time is delay.
    counters.gauge('loopDelayMs', Math.max(0, delay.max / nanosPerMs - sampleMs))
    delay.reset()
    const { used_heap_size, external_memory, malloced_memory } = getHeapStatistics()
    counters.gauge('heapBytes', used_heap_size)
    counters.gauge('externalBytes', external_memory + malloced_memory)
  })
  return () => {
    cancel()
    delay.disable()
  }
}
