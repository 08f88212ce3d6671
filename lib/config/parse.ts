/**
 * Text of a config file → frozen `Config`, or every fault of it with its path, its place and its fix. @pure
 * Reads no file and no machine: `load.ts` does.
 */
import { resolve } from 'node:path'
import { check, pathText, type ShapeFault } from '../schema.ts'
import type { ClusterConfig, Config, DriverKind, NodeConfig } from './config.ts'
import { readDocument } from './document.ts'
import { isLater } from './later.ts'
import { shutdownOf } from './leaving-schema.ts'
import { ruleFaults } from './rules.ts'
import { configSchema, type Surroundings } from './schema.ts'
import { withAbsolutePaths } from './template-paths.ts'
import { absoluteTls } from './tls-schema.ts'

export interface Fault {
  /** `clusters[0].health.interval`; empty for the file as a whole. */
  readonly path: string
  /** From 1; 0 when the file could not be read. */
  readonly line: number
  readonly column: number
  readonly message: string
  readonly fix: string
}

export type ConfigResult = { readonly config: Config } | { readonly faults: readonly Fault[] }

export interface ParseOptions {
  /** The file's name, for messages. */
  readonly file: string
  /** Absolute; relative paths in the file start here. */
  readonly directory: string
  readonly cpus: number
  /** This machine's, for nodes that do not say; default 8 GiB and 40 GiB. */
  readonly memoryBytes?: number
  readonly diskBytes?: number
}

const GiB = 1024 ** 3
export const textCharsMax = 1_000_000

/** Never throws. */
export function parseConfig(text: string, options: ParseOptions): ConfigResult {
  if (text.length > textCharsMax)
    return { faults: [wholeFile(`${options.file} is longer than ${textCharsMax} characters`, 'shorten it')] }
  const document = readDocument(text)
  if ('faults' in document) return { faults: document.faults.map(fault => ({ path: '', ...fault })) }
  const absolute = (path: string) => resolve(options.directory, path)
  const around = { memoryBytes: 8 * GiB, diskBytes: 40 * GiB, ...options, absolute }
  const checked = check(configSchema(around), document.value)
  const shapeFaults = checked.ok ? [] : checked.faults.map(promised)
  const faults = [...shapeFaults, ...ruleFaults(document.value)].map(fault => ({
    path: pathText(fault.path),
    ...document.place(fault.path, fault.at),
    message: fault.message,
    fix: fault.fix,
  }))
  if (!checked.ok || faults.length > 0)
    return { faults: faults.sort((a, b) => a.line - b.line || a.column - b.column) }
  const value = checked.value
  const config: Config = {
    listeners: value.listeners,
    threads: value.threads,
    trustedProxies: value.trusted_proxies,
    debugHeaders: value.debug_headers,
    admin: value.admin,
    store: value.store,
    nodes: value.nodes ?? defaultNodes(value.clusters, around),
    zone: value.zone ?? null,
    clusters: value.clusters.map(cluster => withPaths(cluster, absolute)),
    overload: value.overload,
    shutdown: shutdownOf(value.shutdown, value.shutdown_grace),
    accessLog: value.access_log ?? null,
    tracing: value.tracing,
  }
  return { config: deepFreeze(config) }
}

/** `tidegate.yaml:12:7 clusters[0].health.interval: message — fix` */
export function faultLine(file: string, fault: Fault): string {
  const place = fault.line > 0 ? `:${fault.line}:${fault.column}` : ''
  const path = fault.path === '' ? '' : ` ${fault.path}`
  return `${file}${place}${path}: ${fault.message} — ${fault.fix}`
}

export const wholeFile = (message: string, fix: string): Fault => ({
  path: '',
  line: 0,
  column: 0,
  message,
  fix,
})

function promised(fault: ShapeFault): ShapeFault {
  if (fault.at !== 'key' || !isLater(fault.path)) return fault
  const key = String(fault.path.at(-1))
  return { ...fault, message: `\`${key}\` is not supported yet in this version`, fix: `remove \`${key}\`` }
}

/** One node a driver in use: `local`, and `local-<driver>` should there be a second kind. */
function defaultNodes(clusters: Config['clusters'], around: Surroundings): NodeConfig[] {
  const inUse = new Set<DriverKind>()
  for (const cluster of clusters) if (cluster.instance) inUse.add(cluster.instance.driver)
  const { cpus, memoryBytes, diskBytes, absolute } = around
  return [...inUse].map((driver, i) => {
    const id = i === 0 ? 'local' : `local-${driver}`
    const capacity = { cpus, memoryBytes, diskBytes }
    return { id, driver, zone: 'default', capacity, directory: absolute(`./state/${id}`), options: {} }
  })
}

function withPaths(relative: ClusterConfig, absolute: (path: string) => string): ClusterConfig {
  const cluster = { ...relative, tls: absoluteTls(relative.tls, absolute) }
  const { instance } = cluster
  if (!instance) return cluster
  return {
    ...cluster,
    instance: { ...instance, template: withAbsolutePaths(instance.driver, instance.template, absolute) },
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const child of Object.values(value)) deepFreeze(child)
  return value
}
