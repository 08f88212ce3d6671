import { crashPoints, type Point } from './suite.ts'

/**
 * What a hypervisor holds changes at these. Every other entry means for VMs what it means for processes, where each is tried; `npm run
 * test:crash-vm` tries every step of every recipe (`test/integration/faults`).
 */
const points: readonly Point[] = [
  // The source may be paused, and files be half written.
  { type: 'scale_out', step: 'prepare', kind: 'started' },
  // A snapshot that nobody has cloned.
  { type: 'scale_out', step: 'prepare', kind: 'done' },
  // A machine that runs and believes to be its source.
  { type: 'scale_out', step: 'clone', kind: 'done' },
  // Behind the pivot: it is a member that no table names.
  { type: 'scale_out', step: 'register', kind: 'done' },
  // Before the pivot it stays; behind it, machines that no table names are ended, the first time or again.
  { type: 'scale_in', step: 'drain', kind: 'done' },
  { type: 'scale_in', step: 'deregister', kind: 'done' },
  { type: 'scale_in', step: 'destroy', kind: 'started' },
]

crashPoints({ driver: 'qemu', moments: ['after'], readyTimeoutMs: 300_000 }, points)
