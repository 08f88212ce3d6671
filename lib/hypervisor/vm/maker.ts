/**
 * What a saved state must be loaded by: a picture of one program's inside, and of the CPU. The guest sees it, or under emulation
 * an invented one, which counts its time by the clock of the real one all the same.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { cpuMark } from '../checksums.ts'

let hostCpu: Promise<string> | null = null

export async function makerOf(version: string): Promise<string> {
  hostCpu ??= cpuName()
  return `${version}${cpuMark}${await hostCpu}`
}

/** The model, and a short name for its features. */
async function cpuName(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
  const line = (key: string) => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? 'unknown'
  const features = createHash('sha256').update(line('flags')).digest('hex').slice(0, 8)
  return `${line('model name')} (${features})`
}
