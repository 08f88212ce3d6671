/**
 * `doctor [-c FILE]`: can Tidegate do its work on this machine? Needs no running server; asks one when it answers.
 * A check that the configuration does not need is shown, and fails nothing.
 */
import { statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Config, driverKinds, type NodeConfig } from '../../config/config.ts'
import { faultLine, loadConfig } from '../../config/load.ts'
import type { Diagnosis } from '../../hypervisor/driver.ts'
import { silentLog } from '../../log.ts'
import { AdminClient } from '../client.ts'
import { CliError, type Context, line, printJson } from '../io.ts'
import { printable, table, wrapped } from '../table.ts'

type Row = Diagnosis & { readonly needed: boolean }

const nodeMajorMin = 24
const freeBytesMin = 1024 ** 3
const serverTimeoutMs = 10_000
const foundColumns = 50
const remedyColumns = 40

export async function doctor(
  context: Context,
  options: { config?: string | undefined; adminGiven: boolean },
): Promise<void> {
  const rows: Row[] = [nodeVersion()]
  const config = options.config === undefined ? null : await configRows(options.config, rows)
  if (config) for (const node of config.nodes) rows.push(...(await nodeRows(context, node, config)))
  else for (const driver of driverKinds) rows.push(...(await driverRows(context, driver)))
  rows.push(...(await serverRows(context, options.adminGiven)))
  const failed = rows.filter(row => row.needed && !row.ok)
  if (context.json) printJson(context.io, { ok: failed.length === 0, checks: rows })
  else show(context, rows)
  if (failed.length > 0 && !context.json)
    throw new CliError(1, 'operation_failed', `${failed.length} of ${rows.length} checks failed.`)
  if (failed.length > 0) throw new AlreadyPrinted()
}

/** The document with `ok: false` is out: only the exit code is left to say. */
export class AlreadyPrinted extends CliError {
  constructor() {
    super(1, 'operation_failed', '')
  }
}

function nodeVersion(): Row {
  const ok = Number(process.versions.node.split('.')[0]) >= nodeMajorMin
  return {
    name: 'node',
    ok,
    detail: `Node ${process.versions.node}`,
    needed: true,
    ...(ok ? {} : { fix: `install Node ${nodeMajorMin} or later` }),
  }
}

async function configRows(path: string, rows: Row[]): Promise<Config | null> {
  const result = await loadConfig(path)
  if ('config' in result) {
    rows.push({ name: 'config', ok: true, detail: `${path} is good`, needed: true })
    return result.config
  }
  for (const fault of result.faults) {
    const detail = faultLine(path, fault).replace(` — ${fault.fix}`, '')
    rows.push({ name: 'config', ok: false, detail, fix: fault.fix, needed: true })
  }
  return null
}

/** Each node of the configuration with each template that is meant for its driver. */
async function nodeRows(context: Context, node: NodeConfig, config: Config): Promise<Row[]> {
  const templates = config.clusters.flatMap(({ instance }) =>
    instance?.driver === node.driver ? [instance.template] : [],
  )
  const needed = templates.length > 0
  const rows = await checkDriver(context, node, templates, needed)
  return [...rows, ...(await spaceRows(node, needed))]
}

async function driverRows(context: Context, driver: NodeConfig['driver']): Promise<Row[]> {
  const capacity = { cpus: 1, memoryBytes: 1024 ** 3, diskBytes: 1024 ** 3 }
  const directory = join(tmpdir(), 'tidegate-doctor')
  const node = { id: driver, driver, zone: 'default', capacity, directory, options: {} }
  return checkDriver(context, node, [], false)
}

async function checkDriver(
  { io }: Context,
  node: NodeConfig,
  templates: readonly Readonly<Record<string, unknown>>[],
  needed: boolean,
): Promise<Row[]> {
  // Loaded only here: the other verbs need no hypervisor.
  const { createDriver } = await import('../../hypervisor/registry.ts')
  const prefix = `${node.id} (${node.driver})`
  try {
    const driver = createDriver(node, { clock: io.clock, log: silentLog })
    const answers = await Promise.all(templates.map(template => driver.check(template)))
    const told = answers.flat()
    // What a template says goes before what can be said without one.
    const bare = (await driver.check(null)).filter(({ name }) => !told.some(row => row.name === name))
    const seen = new Map([...told, ...bare].map(row => [`${row.name} ${row.detail}`, row]))
    return [...seen.values()].map(row => ({
      ...row,
      name: `${prefix} ${row.name}`,
      needed: needed && !row.advice,
    }))
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return [{ name: prefix, ok: false, detail, fix: `mend nodes[].options of \`${node.id}\``, needed }]
  }
}

async function spaceRows(node: NodeConfig, needed: boolean): Promise<Row[]> {
  let directory = node.directory
  for (;;) {
    try {
      const { bavail, bsize } = await statfs(directory)
      const free = bavail * bsize
      const detail = `${(free / 1024 ** 3).toFixed(1)} GiB free for ${node.directory}`
      const ok = free >= freeBytesMin
      return [{ name: `${node.id} disk`, ok, detail, needed, ...(ok ? {} : { fix: 'free at least 1 GiB' }) }]
    } catch {
      const parent = join(directory, '..')
      if (parent === directory) return []
      directory = parent
    }
  }
}

/** A server that nobody named may be away; one that was named must answer. */
async function serverRows(context: Context, named: boolean): Promise<Row[]> {
  const client = new AdminClient(context)
  try {
    const { checks } = await client.get<{ checks: Diagnosis[] }>('/api/v1/diagnose', serverTimeoutMs)
    const rows = checks.map(row => ({ ...row, name: `server ${row.name}`, needed: !row.advice }))
    return [{ name: 'server', ok: true, detail: `answers at ${client.url.origin}`, needed: named }, ...rows]
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return [{ name: 'server', ok: false, detail, fix: 'tidegate serve -c tidegate.yaml', needed: named }]
  }
}

/** A line for each check; what is long goes on below itself. */
function show({ io }: Context, rows: readonly Row[]): void {
  const cells = rows.flatMap(row => {
    const mark = row.ok ? 'ok' : row.needed ? 'FAIL' : 'no'
    const found = wrapped(printable(row.detail), foundColumns)
    const remedy = row.ok ? [''] : wrapped(printable(row.fix ?? '-'), remedyColumns)
    const lines = Math.max(found.length, remedy.length)
    return Array.from({ length: lines }, (_, at) => [
      ...(at === 0 ? [mark, printable(row.name)] : ['', '']),
      ...[found[at] ?? '', remedy[at] ?? ''],
    ])
  })
  for (const text of table(['HAS', 'CHECK', 'FOUND', 'REMEDY'], cells)) line(io.stdout, text)
}
