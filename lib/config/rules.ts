/**
 * What must hold between keys: ids are unique, routes are owned once, bounds are in order, drivers have nodes. @pure
 * Reads the file's plain values and not the schema's result, so that these faults are told together with the schema's.
 */
import { type ShapeFault, show } from '../schema.ts'
import { type Address, formatAddress, isLoopback, overlap, parseAddress } from '../units.ts'
import { balanceFaults } from './balance-rules.ts'
import { type DriverKind, driverKinds } from './config.ts'
import { routeHost, routePath } from './fields.ts'
import { fault, type Group, isGroup, items, type Path } from './plain-values.ts'
import { resizeFirstRules } from './resize-first-rules.ts'

export function ruleFaults(root: unknown): ShapeFault[] {
  if (!isGroup(root)) return []
  return [
    ...listenerFaults(root),
    ...proxyProtocolFaults(root),
    ...adminFaults(root),
    ...shutdownFaults(root),
    ...duplicates(items(root.nodes), ['nodes'], 'id', 'node'),
    ...duplicates(items(root.clusters), ['clusters'], 'id', 'cluster'),
    ...routeFaults(root),
    ...items(root.clusters).flatMap((cluster, i) => clusterFaults(cluster, ['clusters', i])),
    ...balanceFaults(root),
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

/** Who may say where a connection came from must be named: a PROXY header from anybody would be a way to pose as anybody. */
function proxyProtocolFaults(root: Group): ShapeFault[] {
  const trusted = Array.isArray(root.trusted_proxies) ? root.trusted_proxies : []
  if (trusted.length > 0) return []
  return items(root.listeners).flatMap(({ proxy_protocol: mode }, i) => {
    if (mode !== 'require') return []
    const message = '`proxy_protocol: require` with no `trusted_proxies` would refuse every connection'
    return [fault(['listeners', i, 'proxy_protocol'], message, 'name the balancers in `trusted_proxies`')]
  })
}

function adminFaults(root: Group): ShapeFault[] {
  if (!isGroup(root.admin)) return []
  const parsed = parseAddress(root.admin.address)
  if (!parsed.ok || isLoopback(parsed.value.host)) return []
  if (root.admin.auth !== undefined && root.admin.auth !== 'none') return []
  const message = `${show(root.admin.address)} can be reached from other machines and \`auth\` is none`
  return [fault(['admin', 'address'], message, 'bind 127.0.0.1 or configure auth.jwt')]
}

/** One thing, said in one place. */
function shutdownFaults(root: Group): ShapeFault[] {
  if (root.shutdown_grace === undefined || !isGroup(root.shutdown) || root.shutdown.grace === undefined)
    return []
  const message = '`shutdown_grace` and `shutdown.grace` say the same thing twice'
  return [fault(['shutdown_grace'], message, 'keep `shutdown.grace` and remove `shutdown_grace`')]
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
  const zero = isGroup(scaling.scale_to_zero)
  const min = scaling.min_instances ?? (zero ? 0 : 1)
  const max = scaling.max_instances ?? 10
  if (typeof min === 'number' && typeof max === 'number' && min > max) {
    const key = scaling.min_instances === undefined ? 'max_instances' : 'min_instances'
    const message = `min_instances ${min} is more than max_instances ${max}`
    faults.push(fault([...path, 'scaling', key], message, 'min_instances must not be above max_instances'))
  }
  if (min === 0 && !zero)
    faults.push(
      fault(
        [...path, 'scaling', 'min_instances'],
        'min_instances 0 leaves nobody to answer',
        'add `scale_to_zero: {}`, or make it at least 1',
      ),
    )
  if (zero && min !== 0)
    faults.push(
      fault(
        [...path, 'scaling', 'min_instances'],
        `min_instances ${min} and \`scale_to_zero\` contradict each other`,
        'write 0 or leave it out',
      ),
    )
  if (zero && hasBackends)
    faults.push(
      fault(
        [...path, 'scaling', 'scale_to_zero'],
        'a cluster with `backends` of its own never has nobody',
        'remove `scale_to_zero`, or the backends',
      ),
    )
  const live = isGroup(cluster.instance) && cluster.instance.clone_from === 'live'
  if (isGroup(scaling.warm_pool) && live && !zero)
    faults.push(
      fault(
        [...path, 'scaling', 'warm_pool'],
        'a warm pool holds golden clones, and `clone_from: live` takes none of them',
        'remove `warm_pool`, or write `clone_from: golden`',
      ),
    )
  faults.push(...resizeFirstRules(cluster, path))
  if (isGroup(scaling.standby)) faults.push(...standbyFaults([...path, 'scaling', 'standby'], live, zero))
  return faults
}

/** What stands by is the copy of an instance that serves, which has to be declared safe; and nobody stands by for nobody. */
function standbyFaults(path: readonly (string | number)[], live: boolean, zero: boolean): ShapeFault[] {
  const faults: ShapeFault[] = []
  if (!live)
    faults.push(
      fault(
        [...path],
        'what stands by is cloned from an instance that serves, which `clone_from: live` declares to be safe',
        'write `clone_from: live` (docs/guest.md says what it asks of an application), or remove `standby`',
      ),
    )
  if (zero)
    faults.push(
      fault([...path], '`standby` and `scale_to_zero` contradict each other', 'remove one of the two'),
    )
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
    if (!driverKinds.includes(driver as DriverKind) || held.has(driver)) return []
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
