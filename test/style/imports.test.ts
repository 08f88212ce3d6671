/** Who may import whom, and what a file headed `@pure` may contain. */
import t from 'tap'
import { type Source, sources } from './sources.ts'

const all = sources('lib', 'routes')

/** A room of the house: the folder under `lib/`, `routes`, or the file's own name for the files directly in `lib/`. */
const roomOf = (path: string) => {
  if (path.startsWith('routes/')) return 'routes'
  const [, first, second] = path.split('/')
  return second === undefined ? first!.replace(/\.ts$/, '') : first!
}

/** Small shared values that every room may use. */
const everywhere = ['clock', 'errors', 'log', 'events', 'command', 'units']

/** Room → rooms it may import from (besides itself and the shared values). `types:x` allows `import type` only. */
const rules: Record<string, readonly string[]> = {
  config: ['schema', 'policy', 'certificates', 'certificate-files'],
  cluster: ['types:config', 'config'],
  proxy: ['cluster', 'types:config', 'certificates', 'certificate-files', 'compiled'],
  scaling: ['cluster', 'types:config', 'policy', 'phases', 'hypervisor', 'types:store'],
  hypervisor: ['types:config', 'guest'],
  store: ['types:config', 'types:hypervisor', 'compiled'],
  guest: [],
  compiled: [],
  keyring: ['types:cluster', 'types:store'],
  metrics: ['types:cluster', 'types:views', 'types:scaling', 'proxy'],
  schedule: [],
  drains: ['types:cluster', 'types:store'],
  policy: ['types:config'],
  phases: [],
  reload: [
    'config',
    'types:views',
    'types:cluster',
    'types:proxy',
    'types:scaling',
    'types:hypervisor',
    'types:store',
  ],
  views: ['types:cluster', 'types:config', 'types:policy', 'types:scaling'],
  control: [
    'views',
    'types:certificates',
    'policy',
    'drains',
    'types:cluster',
    'types:config',
    'types:scaling',
    'types:hypervisor',
    'types:store',
  ],
  routes: [
    'schema',
    'policy',
    'phases',
    'types:control',
    'types:views',
    'types:cluster',
    'types:config',
    'types:scaling',
    'types:hypervisor',
    'types:store',
  ],
  cli: [
    'compiled',
    'config',
    'policy',
    'server',
    'hypervisor',
    'views',
    'types:cluster',
    'types:scaling',
    'types:hypervisor',
    'types:store',
    'types:routes',
  ],
  server: ['*'],
  index: ['*'],
  clock: [],
  errors: [],
  log: [],
  events: [],
  command: ['types:config', 'types:policy'],
  units: [],
  schema: [],
  certificates: ['types:config'],
  'certificate-files': ['certificates'],
}

t.test('rooms import only from the rooms they may know', async t => {
  for (const source of all) {
    const room = roomOf(source.path)
    const allowed = rules[room]
    t.ok(allowed, `${source.path}: room "${room}" has a rule`)
    for (const { target, kind, typeOnly } of source.imports) {
      if (kind !== 'file') continue
      const other = roomOf(target)
      const fine =
        other === room ||
        everywhere.includes(other) ||
        allowed?.includes('*') ||
        allowed?.includes(other) ||
        (typeOnly && allowed?.includes(`types:${other}`))
      t.ok(fine, `${source.path} may import ${target}${typeOnly ? ' (types)' : ''}`)
    }
  }
})

t.test('only the registries and the composition root name concrete drivers and stores', async t => {
  const concrete =
    /^lib\/(hypervisor\/(process|qemu|cloud-hypervisor|firecracker)\/|store\/(memory|sqlite)\.ts)/
  const outside = all.filter(
    s => !/^lib\/hypervisor\/(process|qemu|cloud-hypervisor|firecracker)\//.test(s.path),
  )
  const allowed = ['lib/hypervisor/registry.ts', 'lib/store/open.ts', 'lib/server.ts', 'lib/index.ts']
  const namers = outside.filter(s => s.imports.some(i => concrete.test(i.target))).map(s => s.path)
  t.strictSame(
    namers.filter(path => !allowed.includes(path)),
    [],
  )
})

t.test('no driver uses another: what they share is in lib/hypervisor/vm or beside it', async t => {
  const driverOf = (path: string) =>
    /^lib\/hypervisor\/(process|qemu|cloud-hypervisor|firecracker)\//.exec(path)?.[1]
  for (const { path, imports } of all)
    for (const { target } of imports) {
      const [own, other] = [driverOf(path), driverOf(target)]
      if (own && other) t.equal(other, own, `${path} imports ${target}`)
    }
})

t.test('each third-party package has one importing file or one folder', async t => {
  const importers = new Map<string, Set<string>>()
  for (const source of all) {
    for (const { target, kind } of source.imports) {
      if (kind !== 'package') continue
      importers.set(target, (importers.get(target) ?? new Set()).add(source.path))
    }
  }
  t.ok(importers.size > 5, 'packages were found at all')
  /** One protocol, two ends: the server's side is in `routes`, the client's in `cli`. */
  const twoEnds = new Set(['ws'])
  for (const [name, paths] of importers) {
    const folders = new Set(
      [...paths].map(path =>
        path
          .split('/')
          .slice(0, path.startsWith('lib/') ? 2 : 1)
          .join('/'),
      ),
    )
    t.ok(
      paths.size === 1 || folders.size === 1 || (twoEnds.has(name) && folders.size === 2),
      `${name}: ${[...paths].join(', ')}`,
    )
  }
})

const impure: readonly (readonly [RegExp, string])[] = [
  [/\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/, 'reads the clock'],
  [/\bset(Timeout|Interval|Immediate)\(/, 'sets a timer'],
  [/\bMath\.random\(/, 'takes chance from the machine'],
  [/\bprocess\./, 'looks at the process'],
  [/\basync\b|\bawait\b/, 'waits'],
]
const pureBuiltins = new Set([
  'node:assert',
  'node:net',
  'node:crypto',
  'node:buffer',
  'node:path',
  'node:util',
  'node:zlib',
])

t.test('a file headed @pure does no I/O and imports only such files', async t => {
  const byPath = new Map(all.map(source => [source.path, source]))
  const pure = all.filter(source => source.pure)
  t.ok(pure.length > 10, 'pure files were found at all')
  for (const source of pure) {
    for (const [pattern, what] of impure) t.notMatch(source.code, pattern, `${source.path} ${what}`)
    for (const { target, kind, typeOnly } of source.imports) {
      if (typeOnly) continue
      if (kind === 'builtin') t.ok(pureBuiltins.has(target), `${source.path} imports ${target}`)
      if (kind === 'file')
        t.ok(
          (byPath.get(target) as Source | undefined)?.pure,
          `${source.path} imports ${target}, which is not @pure`,
        )
    }
  }
})

t.test('time goes through Clock', async t => {
  const own = new Set(['lib/clock.ts'])
  /** The guest library runs inside other people's applications, which have no Clock. */
  const checked = all.filter(source => !own.has(source.path) && !source.path.startsWith('lib/guest/'))
  for (const source of checked) {
    t.notMatch(
      source.code,
      // A method of that name (a socket's) is another thing.
      /\bDate\.now\(|\bperformance\.now\(|(?<![.\w])set(Timeout|Interval)\((?!\)|\w+: )/,
      source.path,
    )
  }
})
