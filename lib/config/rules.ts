/**
 * What must hold between keys: ids are unique, routes are owned once, bounds are in order, drivers have nodes. @pure
 * Reads the file's plain values and not the schema's result, so that these faults are told together with the schema's.
 */
import { type ShapeFault, show } from '../schema.ts'
import { type Address, formatAddress, isLoopback, parseAddress } from '../units.ts'
import { routeHost, routePath } from './fields.ts'

type Path = readonly (string | number)[]
type Group = Readonly<Record<string, unknown>>

export function ruleFaults(root: unknown): ShapeFault[] {
  if (!isGroup(root)) return []
  return [
    ...listenerFaults(root),
    ...adminFaults(root),
    ...duplicates(items(root.nodes), ['nodes'], 'id', 'node'),
    ...duplicates(items(root.clusters), ['clusters'], 'id', 'cluster'),
    ...routeFaults(root),
    ...items(root.clusters).flatMap((cluster, i) => clusterFaults(cluster, ['clusters', i])),
    ...driverFaults(root),
  ]
}

function listenerFaults(root: Group): ShapeFault[] {
  const taken: { address: Address; path: string }[] = []
  const faults: ShapeFault[] = []
  const take = (value: unknown, path: Path, name: string) => {
    const parsed = parseAddress(value)
    if (!parsed.ok || parsed.value.port === 0) return
    const other = taken.find(one => overlap(one.address, parsed.value))
    if (other)
      faults.push(fault(path, `${show(value)} is already taken by ${other.path}`, 'choose another port'))
    else
      taken.push({
        address: parsed.value,
        path: `${name} (${formatAddress(parsed.value.host, parsed.value.port)})`,
      })
  }
  items(root.listeners).forEach((listener, i) => {
    take(listener.address, ['listeners', i, 'address'], `listeners[${i}]`)
  })
  if (isGroup(root.admin)) take(root.admin.address, ['admin', 'address'], 'admin')
  return faults
}

function adminFaults(root: Group): ShapeFault[] {
  if (!isGroup(root.admin)) return []
  const parsed = parseAddress(root.admin.address)
  if (!parsed.ok || isLoopback(parsed.value.host)) return []
  if (root.admin.auth !== undefined && root.admin.auth !== 'none') return []
  const message = `${show(root.admin.address)} can be reached from other machines and \`auth\` is none`
  return [fault(['admin', 'address'], message, 'bind 127.0.0.1 or configure auth.jwt')]
}

function clusterFaults(cluster: Group, path: Path): ShapeFault[] {
  const faults = duplicates(items(cluster.backends), [...path, 'backends'], 'id', 'backend')
  const hasBackends = Array.isArray(cluster.backends) && cluster.backends.length > 0
  if (
    !hasBackends &&
    (cluster.instance === undefined || cluster.instance === null) &&
    cluster.backends !== null
  )
    faults.push(fault(path, 'the cluster has nothing to send to', 'add `backends` or `instance`'))
  const scaling = isGroup(cluster.scaling) ? cluster.scaling : {}
  const min = scaling.min_instances ?? 1
  const max = scaling.max_instances ?? 10
  if (typeof min === 'number' && typeof max === 'number' && min > max) {
    const key = scaling.min_instances === undefined ? 'max_instances' : 'min_instances'
    const message = `min_instances ${min} is more than max_instances ${max}`
    faults.push(fault([...path, 'scaling', key], message, 'min_instances must not be above max_instances'))
  }
  return faults
}

/** A host and a path may lead to one cluster only; which one of two would serve must not depend on their order. */
function routeFaults(root: Group): ShapeFault[] {
  const owners = new Map<string, string>()
  const faults: ShapeFault[] = []
  items(root.clusters).forEach((cluster, c) => {
    const routes = cluster.routes === undefined ? [{}] : items(cluster.routes)
    routes.forEach((route, r) => {
      const host = routeHost().safeParse(route.host ?? '*')
      const path = routePath().safeParse(route.path ?? '/')
      if (!host.success || !path.success) return
      const key = `${host.data}${path.data}`
      const here = `clusters[${c}].routes[${r}]`
      const owner = owners.get(key)
      if (owner === undefined) {
        owners.set(key, here)
        return
      }
      const message = `host \`${host.data}\` with path \`${path.data}\` already belongs to ${owner}`
      const at: Path = cluster.routes === undefined ? ['clusters', c] : ['clusters', c, 'routes', r]
      faults.push(fault(at, message, 'give one of them another host or path'))
    })
  })
  return faults
}

/** Without `nodes` a node is made for each driver in use; with it, each driver in use must have one. */
function driverFaults(root: Group): ShapeFault[] {
  if (!Array.isArray(root.nodes)) return []
  const held = new Set(items(root.nodes).map(node => node.driver))
  return items(root.clusters).flatMap((cluster, i) => {
    const driver = isGroup(cluster.instance) ? cluster.instance.driver : undefined
    if ((driver !== 'process' && driver !== 'qemu') || held.has(driver)) return []
    const message = `no node has the driver \`${driver}\``
    const fix = `add \`{ id: local, driver: ${driver} }\` to \`nodes\`, or leave \`nodes\` out`
    return [fault(['clusters', i, 'instance', 'driver'], message, fix)]
  })
}

function duplicates(rows: readonly Group[], path: Path, key: string, noun: string): ShapeFault[] {
  const first = new Map<unknown, number>()
  return rows.flatMap((row, i) => {
    const id = row[key]
    if (typeof id !== 'string') return []
    const earlier = first.get(id)
    if (earlier === undefined) {
      first.set(id, i)
      return []
    }
    const message = `a second ${noun} \`${id}\`: the first is ${path.at(-1)}[${earlier}]`
    return [fault([...path, i, key], message, 'give each its own id')]
  })
}

/** Items that are not groups keep their place, so that paths stay true. */
const items = (value: unknown): Group[] =>
  Array.isArray(value) ? value.map(item => (isGroup(item) ? item : {})) : []

const isGroup = (value: unknown): value is Group =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const wildcards = new Set(['0.0.0.0', '::'])

const overlap = (a: Address, b: Address): boolean =>
  a.port === b.port && (a.host === b.host || wildcards.has(a.host) || wildcards.has(b.host))

const fault = (path: Path, message: string, fix: string): ShapeFault => ({ path, at: 'value', message, fix })
