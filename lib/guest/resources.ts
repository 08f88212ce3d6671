/**
 * Using what was plugged into the machine, and letting go of what is to leave it: what the agent does when the host says how
 * many processors there are to be. Linux finds new processors and memory by itself and waits to be told to use them. Needs
 * root in the VM; what could not be done is in the answer, which the host compares with what it asked for.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import type { AnyHooks } from './hooks.ts'
import type { LimitsAnswer, LimitsRequest, ResizeAnswer, ResizeRequest } from './protocol.ts'
import { guestLimits } from './protocol.ts'
import { Refusal, withinHookTime } from './state.ts'

const processors = 'devices/system/cpu'
const memoryBlocks = 'devices/system/memory'
/** A processor that was just plugged in takes a moment to be found. */
const foundWithinMs = 10_000
const pollMs = 20
const heapShare = 0.5

export async function resizeGuest(
  body: string,
  clock: Clock,
  roots: { readonly sys: string; readonly proc: string } = { sys: '/sys', proc: '/proc' },
): Promise<ResizeAnswer> {
  const { cpus, memory_bytes_min: least } = parseRequest(body)
  const warnings: string[] = []
  const deadlineMs = clock.monotonic() + foundWithinMs
  while (true) {
    warnings.length = 0
    if (cpus > 0) useProcessors(join(roots.sys, processors), cpus, warnings)
    useMemory(join(roots.sys, memoryBlocks), warnings)
    const there = used(join(roots.sys, processors)) >= cpus && memoryBytes(roots.proc) >= least
    if (there || clock.monotonic() >= deadlineMs) break
    await clock.sleep(pollMs)
  }
  return { cpus: used(join(roots.sys, processors)), memory_bytes: memoryBytes(roots.proc), warnings }
}

/** Tells the application what it may use. What its hook throws is a warning: the machine is resized all the same. */
export async function hearLimits(
  body: string,
  hook: AnyHooks['resized'],
  clock: Clock,
): Promise<LimitsAnswer> {
  const { cpus, memory_bytes: memoryBytes, disk_bytes: diskBytes } = parseLimits(body)
  if (hook === null) return { application: 'no_hook', warnings: [] }
  const heapBytes = Math.floor(memoryBytes * heapShare)
  try {
    await withinHookTime(clock, async () => hook({ cpus, memoryBytes, diskBytes, heapBytes }))
    return { application: 'acknowledged', warnings: [] }
  } catch (error) {
    return {
      application: 'acknowledged',
      warnings: [`the application's resized hook failed: ${reason(error)}`],
    }
  }
}

/** The first `count` are used and no others. The first of all cannot be taken out of use, and often has no switch. */
function useProcessors(directory: string, count: number, warnings: string[]): void {
  for (const [index, name] of numbered(directory, 'cpu').entries()) {
    const control = join(directory, name, 'online')
    if (index > 0 && existsSync(control)) put(control, index < count ? '1' : '0', warnings)
  }
}

function useMemory(directory: string, warnings: string[]): void {
  if (!existsSync(directory)) return
  for (const name of numbered(directory, 'memory')) {
    const control = join(directory, name, 'state')
    if (existsSync(control) && text(control) === 'offline') put(control, 'online_movable', warnings)
  }
}

/** `0-2,4` → 4. */
function used(directory: string): number {
  return text(join(directory, 'online'))
    .split(',')
    .reduce((sum, range) => {
      const [first = 0, last = first] = range.split('-').map(Number)
      return sum + last - first + 1
    }, 0)
}

function memoryBytes(proc: string): number {
  return Number(/^MemTotal:\s+(\d+) kB$/m.exec(text(join(proc, 'meminfo')))?.[1] ?? 0) * 1024
}

const numbered = (directory: string, prefix: string): readonly string[] =>
  readdirSync(directory)
    .filter(name => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .sort((a, b) => Number(a.slice(prefix.length)) - Number(b.slice(prefix.length)))

const text = (path: string): string => readFileSync(path, 'utf8').trim()

function put(path: string, value: string, warnings: string[]): void {
  if (text(path) === value) return
  try {
    writeFileSync(path, value)
  } catch (error) {
    warnings.push(`${path} could not be set to ${value}: ${reason(error)}`)
  }
}

function parseRequest(body: string): ResizeRequest {
  const { cpus, memory_bytes_min } = fieldsOf(body)
  const { cpusMax } = guestLimits
  if (typeof cpus !== 'number' || !Number.isInteger(cpus) || cpus < 0 || cpus > cpusMax) {
    throw new Refusal('invalid_request', `resize: cpus: 0 to ${cpusMax}`)
  }
  if (typeof memory_bytes_min !== 'number' || !(memory_bytes_min >= 0)) {
    throw new Refusal('invalid_request', 'resize: memory_bytes_min: a number of bytes')
  }
  return { cpus, memory_bytes_min }
}

function parseLimits(body: string): LimitsRequest {
  const { cpus, memory_bytes, disk_bytes } = fieldsOf(body)
  const count = (value: unknown): value is number => typeof value === 'number' && value >= 0
  if (count(cpus) && count(memory_bytes) && count(disk_bytes)) return { cpus, memory_bytes, disk_bytes }
  throw new Refusal('invalid_request', 'limits: cpus, memory_bytes and disk_bytes: numbers')
}

function fieldsOf(body: string): Record<string, unknown> {
  try {
    return (JSON.parse(body) ?? {}) as Record<string, unknown>
  } catch {
    return {}
  }
}

const reason = (error: unknown) => (error instanceof Error ? error.message : String(error))
