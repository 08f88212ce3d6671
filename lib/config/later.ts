/**
 * Keys that the format promises and this version does not carry out. @pure
 * They are refused by name, never ignored: a listener that was meant to speak TLS must not speak plain text instead.
 */
const later: ReadonlySet<string> = new Set([
  'admin.auth.jwt',
  'admin.tls',
  'store.url',
  'store.key_prefix',
  'store.batch_size',
  'store.on_unavailable',
  'fleet',
  'clusters[].autoscale',
  'clusters[].replication',
  'clusters[].scaling.rules',
  'clusters[].scaling.schedule',
  'clusters[].scaling.schedules',
  'clusters[].scaling.forecast',
  'clusters[].scaling.scale_to_zero',
])

export function isLater(path: readonly (string | number)[]): boolean {
  let pattern = ''
  for (const part of path) {
    if (typeof part === 'number') pattern += '[]'
    else pattern += pattern === '' ? part : `.${part}`
  }
  return later.has(pattern)
}
