/**
 * What must hold between the keys of balancing: splits and mirrors name clusters that exist, zones are known, no key is there
 * without effect. @pure
 */
import { type ShapeFault, show } from '../schema.ts'
import { fault, type Group, items, type Path } from './plain-values.ts'

export function balanceFaults(root: Group): ShapeFault[] {
  const ids = new Set(items(root.clusters).map(cluster => cluster.id))
  return [
    ...items(root.clusters).flatMap((cluster, c) => [
      ...settingFaults(root, cluster, ['clusters', c]),
      ...items(cluster.routes).flatMap((route, r) =>
        targetFaults(route, cluster, ids, ['clusters', c, 'routes', r]),
      ),
    ]),
    ...unreachableFaults(root),
  ]
}

function settingFaults(root: Group, cluster: Group, path: Path): ShapeFault[] {
  const { balance = 'least_request', hash_balance_factor: factor, zone_preference: preference } = cluster
  const faults: ShapeFault[] = []
  if (factor !== undefined && balance !== 'consistent_hash')
    faults.push(
      fault(
        [...path, 'hash_balance_factor'],
        `\`hash_balance_factor\` has no effect with \`balance: ${String(balance)}\``,
        'remove it, or write `balance: consistent_hash`',
      ),
    )
  if (preference !== 'prefer') return faults
  const at = [...path, 'zone_preference']
  if (root.zone === undefined)
    faults.push(fault(at, 'this Tidegate has no zone that could be preferred', 'add `zone` at the top level'))
  if (balance === 'consistent_hash')
    faults.push(
      fault(
        at,
        '`consistent_hash` goes by the key, wherever its owner is',
        'remove it, or choose another balance',
      ),
    )
  return faults
}

/** Of one route: its split and its mirror. */
function targetFaults(route: Group, cluster: Group, ids: ReadonlySet<unknown>, path: Path): ShapeFault[] {
  const faults: ShapeFault[] = []
  const known = [...ids].filter(id => id !== cluster.id).join(', ')
  const check = (target: unknown, at: Path, what: string) => {
    if (typeof target !== 'string') return
    if (target === cluster.id)
      faults.push(fault(at, `a ${what} of a cluster to itself`, 'name another cluster'))
    else if (!ids.has(target))
      faults.push(
        fault(at, `there is no cluster ${show(target)}`, known === '' ? 'add it' : `one of ${known}`),
      )
  }
  const parts = items(route.split)
  parts.forEach((part, s) => {
    check(part.cluster, [...path, 'split', s, 'cluster'], 'split')
    const first = parts.findIndex(other => other.cluster === part.cluster)
    if (first < s && typeof part.cluster === 'string')
      faults.push(
        fault(
          [...path, 'split', s, 'cluster'],
          `cluster ${show(part.cluster)} a second time`,
          'add the two up',
        ),
      )
  })
  const sum = parts.reduce((total, { percent }) => total + (typeof percent === 'number' ? percent : 0), 0)
  if (sum > 100)
    faults.push(
      fault([...path, 'split'], `the parts are ${sum} percent together`, 'at most 100; the rest stays'),
    )
  const [mirror] = items([route.mirror])
  check(mirror?.cluster, [...path, 'mirror', 'cluster'], 'mirror')
  return faults
}

/** A cluster without routes is for the routes of others. */
function unreachableFaults(root: Group): ShapeFault[] {
  const routes = items(root.clusters).flatMap(cluster => items(cluster.routes))
  const targets = new Set(
    routes.flatMap(route => [...items(route.split), ...items([route.mirror])].map(target => target.cluster)),
  )
  return items(root.clusters).flatMap((cluster, c) => {
    const hidden = Array.isArray(cluster.routes) && cluster.routes.length === 0
    if (!hidden || targets.has(cluster.id)) return []
    const message = 'the cluster has no routes, and no route of another names it'
    return [fault(['clusters', c, 'routes'], message, 'add a route, or name it in a `split` or `mirror`')]
  })
}
