/**
 * The guest's kernel: Debian's cloud kernel package, unpacked into the cache once. No root right is needed: the package is
 * downloaded and unpacked, never installed. An unpacked one in the cache is used as it is, so later builds work offline.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Missing } from './missing.ts'

export interface Kernel {
  readonly version: string
  readonly image: string
  /** Module files in the order in which they must be loaded. */
  readonly modules: readonly { readonly name: string; readonly path: string }[]
}

const moduleOrder = [
  'virtio/virtio_ring',
  'virtio/virtio',
  'virtio/virtio_pci_legacy_dev',
  'virtio/virtio_pci_modern_dev',
  'virtio/virtio_pci',
  'virtio/virtio_mmio',
  'virtio/virtio_mem',
  'block/virtio_blk',
  'char/hw_random/virtio-rng',
  'firmware/qemu_fw_cfg',
  '/net/core/failover',
  'net/net_failover',
  'net/virtio_net',
]
const metaPackage = 'linux-image-cloud-amd64'
const downloadTimeoutMs = 180_000

/** The newest unpacked kernel, or a freshly downloaded one when there is none. Throws `Missing` with what to install. */
export function findKernel(cache: string, say: (line: string) => void): Kernel {
  mkdirSync(cache, { recursive: true, mode: 0o700 })
  const kept = readdirSync(cache).filter(name => name.startsWith('linux-image-'))
  const newest = kept.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  return describe(join(cache, newest ?? download(cache, say)))
}

function download(cache: string, say: (line: string) => void): string {
  const name = versionedPackage()
  say(`downloading ${name} from Debian (27 MB)`)
  const work = mkdtempSync(join(cache, '.unpack-'))
  try {
    run('apt-get', ['download', name], work)
    const file = readdirSync(work).find(entry => entry.endsWith('.deb'))
    if (file === undefined) throw new Missing(`apt-get download ${name} left no package`, 'apt-get update')
    run('dpkg', ['-x', file, 'root'], work)
    const kernel = file.replace(/_amd64\.deb$/, '').replaceAll('%3a', '-')
    if (!existsSync(join(cache, kernel))) renameSync(join(work, 'root'), join(cache, kernel))
    return kernel
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** The package with the kernel in it, which the meta package depends on. */
function versionedPackage(): string {
  const text = run('apt-cache', ['depends', metaPackage])
  const name = /Depends: (linux-image-\S+)/.exec(text)?.[1]
  if (name === undefined) throw new Missing(`apt knows no package ${metaPackage}`, 'sudo apt-get update')
  return name
}

function describe(root: string): Kernel {
  const boot = join(root, 'boot')
  const image = readdirSync(boot).find(name => name.startsWith('vmlinuz-'))
  if (image === undefined) throw new Missing(`${boot} holds no kernel`, `rm -r ${root}`)
  const version = image.slice('vmlinuz-'.length)
  const base = join(root, 'lib/modules', version, 'kernel')
  const modules = moduleOrder.map(module => {
    const path = module.startsWith('/') ? `${base}${module}.ko` : join(base, 'drivers', `${module}.ko`)
    if (!existsSync(path)) throw new Missing(`${path} is not in the kernel package`, `rm -r ${root}`)
    return { name: `${module.split('/').at(-1)}.ko`, path }
  })
  return { version, image: join(boot, image), modules }
}

function run(command: string, args: readonly string[], cwd?: string): string {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: downloadTimeoutMs,
      ...(cwd === undefined ? {} : { cwd }),
    })
  } catch (error) {
    const said = error instanceof Error ? error.message.trim() : String(error)
    throw new Missing(
      `cannot run ${command} ${args.join(' ')}: ${said}`,
      'this needs Debian or Ubuntu, a network once, and: sudo apt-get update',
    )
  }
}
