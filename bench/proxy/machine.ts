/** What the numbers belong to: the machine, and the versions of everything that took part. */
import { cpus, release, totalmem, type } from 'node:os'
import { ask, pinned } from './children.ts'
import type { Machine } from './row.ts'
import { everyone } from './rows/lanes.ts'
import { tidegate } from './subjects/tidegate.ts'

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    pinned,
  }
}

export function versions(): Readonly<Record<string, string>> {
  const found: Record<string, string> = { node: `Node ${process.versions.node}` }
  for (const subject of [tidegate(), ...everyone]) {
    const version = subject.version()
    if (version !== null) found[subject.name] = version
  }
  const wrk = /wrk \S*?([\d.]+)/.exec(ask('wrk', '-v'))?.[1]
  if (wrk) found.wrk = `wrk ${wrk}`
  const h2load = /nghttp2\/([\d.]+)/.exec(ask('h2load', '--version'))?.[1]
  if (h2load) found.h2load = `h2load ${h2load}`
  return found
}
