/**
 * What an operator may say about a microVM (`instance.template`) and about a node (`nodes[].options`), checked. @pure
 * It looks at shapes only; whether the files exist is seen when they are needed. What Firecracker offers and this driver
 * does not take is refused with the reason, not as a stranger.
 */
import { type Pool, parsePool, poolDefault } from '../network/plan.ts'
import {
  asOptions,
  binaryName,
  bootTimeout,
  environment,
  filePath,
  flag,
  inOptions,
  inTemplate,
  invalid,
  kernelArguments,
  type Raw,
  refuseUnknown,
  size,
} from '../vm/template-fields.ts'

export interface FirecrackerTemplate {
  /** Paths. Uncompressed ELF (`vmlinux`), or from Firecracker 1.17 a `bzImage` too. */
  readonly kernel: string
  /** One of the two holds the application; with both, the initial file system mounts the root one. */
  readonly initrd: string | null
  readonly rootfs: string | null
  /** All instances share a root file system that none writes to; else each has a copy. */
  readonly rootfsReadOnly: boolean
  /** Added to the kernel's command line. */
  readonly append: string
  /** Extra environment of the application. */
  readonly env: Readonly<Record<string, string>>
  /** Whether the guest may open connections of its own. */
  readonly outbound: boolean
  /** How far `resize` may raise the memory; null: not at all. */
  readonly memoryMaxBytes: number | null
  /** A balloon device, with which `resize` may lower the memory. */
  readonly balloon: boolean
  /** Snapshots of a booted (not cloned) VM hold only the pages that it ever touched. */
  readonly sparseSnapshots: boolean
}

export interface FirecrackerOptions {
  readonly binary: string
  /** Where instances get their addresses from. */
  readonly networkPool: Pool
  /** How long a cold boot may take until the guest's agent answers. */
  readonly bootTimeoutMs: number
}

const templateKeys = [
  ...['kernel', 'initrd', 'rootfs', 'rootfs_read_only', 'append', 'env', 'outbound'],
  ...['memory_max', 'balloon', 'sparse_snapshots', 'memory_backend', 'huge_pages'],
]
const optionKeys = ['binary', 'network_pool', 'boot_timeout_ms']

const noUffd =
  '`file`: `uffd` needs a process beside every clone that fills in its memory, and a clone whose process ' +
  'dies stands still for ever; the kernel pages a file in by itself'
const noHugePages =
  '`none`: a snapshot of a VM on huge pages can be restored only through userfaultfd, which is refused too'

/** Throws `template_invalid` that names the field and the fix. */
export function parseTemplate(raw: Raw): FirecrackerTemplate {
  const at = inTemplate
  refuseUnknown(raw, templateKeys, at)
  if (![undefined, 'file'].includes(raw.memory_backend as string)) throw invalid(at('memory_backend'), noUffd)
  if (![undefined, 'none'].includes(raw.huge_pages as string)) throw invalid(at('huge_pages'), noHugePages)
  const initrd = raw.initrd === undefined ? null : filePath(raw.initrd, at('initrd'))
  const rootfs = raw.rootfs === undefined ? null : filePath(raw.rootfs, at('rootfs'))
  if (initrd === null && rootfs === null) {
    throw invalid(at('initrd'), 'given, or else `rootfs`: one of them holds the application')
  }
  return {
    kernel: filePath(raw.kernel, at('kernel')),
    initrd,
    rootfs,
    rootfsReadOnly: flag(raw.rootfs_read_only, at('rootfs_read_only')),
    append: kernelArguments(raw.append, at('append')),
    env: environment(raw.env, at('env')),
    outbound: flag(raw.outbound, at('outbound')),
    memoryMaxBytes: raw.memory_max === undefined ? null : size(raw.memory_max, at('memory_max')),
    balloon: flag(raw.balloon, at('balloon')),
    sparseSnapshots: flag(raw.sparse_snapshots, at('sparse_snapshots')),
  }
}

/** Throws `invalid_config` that names the field and the fix. */
export const parseOptions = (raw: Raw): FirecrackerOptions => asOptions(() => options(raw))

function options(raw: Raw): FirecrackerOptions {
  const at = inOptions
  refuseUnknown(raw, optionKeys, at)
  return {
    binary: binaryName(raw.binary, 'firecracker', 'a Firecracker binary', at('binary')),
    networkPool: parsePool(raw.network_pool ?? poolDefault, at('network_pool')),
    bootTimeoutMs: bootTimeout(raw.boot_timeout_ms, at('boot_timeout_ms')),
  }
}
