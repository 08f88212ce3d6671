/** What a saved state must be loaded by: a picture of one program's inside, and of the CPU where the guest saw it. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'

let hostCpu: Promise<string> | null = null

/** `emulated`: the guest sees an invented CPU, the same on every host. */
export async function makerOf(
  version: string,
  { emulated }: { readonly emulated: boolean },
): Promise<string> {
  if (emulated) return version
  hostCpu ??= cpuName()
  return `${version} on ${await hostCpu}`
}

/** The model, and a short name for its features. */
async function cpuName(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
  const line = (key: string) => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? 'unknown'
  const features = createHash('sha256').update(line('flags')).digest('hex').slice(0, 8)
  return `${line('model name')} (${features})`
}
