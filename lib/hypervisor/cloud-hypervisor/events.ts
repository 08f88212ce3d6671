/**
 * What Cloud Hypervisor tells of itself while its API waits: the file of `--event-monitor`, JSON objects one after the
 * other, over several lines each. Nothing is kept: the file is short, and who comes later reads it from its start.
 *
 *   vmm  starting shutdown
 *   vm   booting booted pausing paused resuming resumed snapshotting snapshotted restoring restored resizing resized
 *        shutdown rebooting rebooted deleted
 *
 * `snapshotted` comes when the devices are saved and *before* the memory is written, so it ends no snapshot.
 */
import { open } from 'node:fs/promises'

export interface VmEvent {
  readonly source: string
  readonly event: string
  /** Since the hypervisor's start, milliseconds. */
  readonly atMs: number
}

/** Of the file's end, bytes: some thousand events. */
const tailBytesMax = 256 * 1024

/** All events, oldest first; empty when there is no file. */
export async function readEvents(path: string): Promise<readonly VmEvent[]> {
  try {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      const buffer = Buffer.alloc(Math.min(size, tailBytesMax))
      const { bytesRead } = await file.read(buffer, 0, buffer.length, size - buffer.length)
      return parseEvents(buffer.toString('utf8', 0, bytesRead))
    } finally {
      await file.close()
    }
  } catch {
    return []
  }
}

/** What is whole in a piece of the file; a piece that is cut off at its start or end is left out. */
export function parseEvents(text: string): VmEvent[] {
  const events: VmEvent[] = []
  let depth = 0
  let start = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (inString) {
      if (char === '\\') i++
      else if (char === '"') inString = false
    } else if (char === '"' && depth > 0) inString = true
    else if (char === '{') {
      if (depth++ === 0) start = i
    } else if (char === '}' && depth > 0 && --depth === 0) {
      const event = eventOf(text.slice(start, i + 1))
      if (event !== null) events.push(event)
    }
  }
  return events
}

/** Whether the VM ran or stood still when it last said so; null when it never did. */
export function lastKnownState(events: readonly VmEvent[]): 'running' | 'paused' | null {
  const states = {
    booted: 'running',
    resumed: 'running',
    rebooted: 'running',
    paused: 'paused',
    restored: 'paused',
  }
  const last = events.findLast(({ source, event }) => source === 'vm' && event in states)
  return last === undefined ? null : (states[last.event as keyof typeof states] as 'running' | 'paused')
}

function eventOf(text: string): VmEvent | null {
  try {
    const { timestamp, source, event } = JSON.parse(text)
    const { secs, nanos } = timestamp
    if (typeof source !== 'string' || typeof event !== 'string') return null
    return { source, event, atMs: secs * 1000 + nanos / 1e6 }
  } catch {
    return null
  }
}
