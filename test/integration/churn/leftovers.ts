/** What is there that should not be: in the table, on the hypervisors, on the disk, among the processes. In words; empty when all is well. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import type { Config } from '../../../lib/config/config.ts'
import { createDriver } from '../../../lib/hypervisor/registry.ts'
import { silentLog } from '../../../lib/log.ts'
import type { Server } from '../../../lib/server.ts'

/** While nothing is asked and no operation is under way. */
export async function leftovers(server: Server, config: Config): Promise<readonly string[]> {
  const backends = config.clusters.flatMap(({ id }) => server.control.backends(id))
  const serving = backends.map(({ id }) => id).sort()
  const found: string[] = []
  for (const { id, state, in_flight, tunnels, sessions } of backends) {
    if (state !== 'ready') found.push(`${id} is ${state}`)
    if (in_flight + tunnels + (sessions ?? 0) > 0)
      found.push(`${id}: ${in_flight} in flight, ${tunnels} tunnels, ${sessions} sessions`)
  }
  for (const { id, status } of await server.control.operations({ limit: 1_000 }))
    if (status === 'running' || status === 'stuck') found.push(`operation ${id} is ${status}`)
  found.push(...(await held(config, serving)))
  return found
}

/** The same of the nodes alone, when `serving` is all that may be there. */
export async function held(config: Config, serving: readonly string[]): Promise<readonly string[]> {
  const found: string[] = []
  const names: string[] = []
  for (const node of config.nodes) {
    const { instances, snapshots } = await createDriver(node, {
      clock: systemClock,
      log: silentLog,
    }).inspect()
    names.push(...instances.map(({ name }) => name))
    for (const { name, state } of instances) if (state !== 'running') found.push(`${name} is ${state}`)
    for (const { name } of snapshots) found.push(`snapshot ${name} on ${node.id}`)
    for (const kind of ['instances', 'snapshots'])
      for (const name of entries(join(node.directory, kind)))
        if (!serving.includes(name)) found.push(`${node.id}/${kind}/${name} on the disk`)
    for (const { pid, text } of processes())
      if (text.includes(node.directory) && !serving.some(name => text.includes(name)))
        found.push(`process ${pid}: ${text.replaceAll('\0', ' ').slice(0, 120)}`)
  }
  if (names.sort().join() !== [...serving].sort().join())
    found.push(`held are ${names.join(' ')}, and ${serving.join(' ')} serve`)
  return found
}

function entries(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

function processes(): readonly { readonly pid: number; readonly text: string }[] {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
    try {
      const text = ['cmdline', 'environ']
        .map(file => readFileSync(`/proc/${name}/${file}`, 'utf8'))
        .join('\0')
      return [{ pid: Number(name), text }]
    } catch {
      return []
    }
  })
}
