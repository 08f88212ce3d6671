/**
 * Builds the demo VM: a kernel and a first file system with busybox, Node and the demo application in it.
 *
 *   node examples/vm/build-image.ts [--main FILE] [--out DIRECTORY] [--force] [--vmlinux]
 *
 * Leaves `vmlinuz` and `initramfs.gz` in examples/vm/build, and with --vmlinux the unpacked kernel, for Firecracker. Equal inputs give equal bytes. A build is kept in
 * $XDG_CACHE_HOME/tidegate (or ~/.cache/tidegate) under a hash of all its inputs, so a second one only links the files.
 */
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { closureOf } from './closure.ts'
import { type ArchiveEntry, archive, file, link, program } from './cpio.ts'
import { findKernel, type Kernel } from './kernel.ts'
import { menderProgram } from './mender.ts'
import { Missing } from './missing.ts'
import { unpackKernel } from './vmlinux.ts'

export interface VmImage {
  readonly kernel: string
  readonly initrd: string
  /** The kernel unpacked, when that was asked for. */
  readonly vmlinux: string | null
  /** Hash of the inputs, hexadecimal. */
  readonly key: string
  /** Whether this call built it; false when it was there already. */
  readonly built: boolean
}

export interface BuildOptions {
  /** The application's main file, relative to the repository. */
  readonly main?: string
  readonly out?: string
  readonly force?: boolean
  /** The kernel unpacked as well. */
  readonly vmlinux?: boolean
  readonly say?: (line: string) => void
}

const root = resolve(import.meta.dirname, '../..')
/** Part of the key: raise it when this script makes something else of the same inputs. */
const recipe = 1

/** Builds, or finds what an equal build left. Throws `Missing` when something must be installed first. */
export function buildImage(options: BuildOptions = {}): VmImage {
  const say = options.say ?? (() => {})
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tidegate')
  const out = resolve(options.out ?? join(import.meta.dirname, 'build'))
  const main = options.main ?? 'examples/app/server.ts'
  const kernel = findKernel(join(cache, 'kernels'), say)
  const node = nodeBinary()
  const entries = contents(main, kernel)
  const key = keyOf([
    ...entries,
    file('node', readFileSync(node)),
    file('kernel', readFileSync(kernel.image)),
  ])
  const kept = join(cache, 'images', key)
  const known = existsSync(join(kept, 'initramfs.gz'))
  if (!known || options.force) {
    say('building the VM image (about 10 seconds)')
    const initramfs = compress(archive([...entries, program('bin/node', stripped(node, say))]))
    mkdirSync(kept, { recursive: true, mode: 0o700 })
    place(kernel.image, join(kept, 'vmlinuz'))
    replaceFile(join(kept, 'initramfs.gz'), path => writeFileSync(path, initramfs))
    forgetOld(join(cache, 'images'), key)
  }
  mkdirSync(out, { recursive: true })
  const names = ['vmlinuz', 'initramfs.gz', ...(options.vmlinux ? [unpacked(kept)] : [])]
  for (const name of names) place(join(kept, name), join(out, name))
  return {
    ...{ kernel: join(out, 'vmlinuz'), initrd: join(out, 'initramfs.gz'), key, built: !known },
    vmlinux: options.vmlinux ? join(out, 'vmlinux') : null,
  }
}

/** Unpacks the kernel beside the packed one, once. Returns the file's name. */
function unpacked(kept: string): string {
  const path = join(kept, 'vmlinux')
  if (!existsSync(path)) {
    const kernel = unpackKernel(readFileSync(join(kept, 'vmlinuz')))
    replaceFile(path, fresh => writeFileSync(fresh, kernel))
  }
  return 'vmlinux'
}

/** All that goes into the image but Node itself. */
function contents(main: string, kernel: Kernel): ArchiveEntry[] {
  const app = closureOf(root, main)
  const entries = [
    program('init', readFileSync(join(import.meta.dirname, 'init.sh'))),
    program('bin/busybox', readFileSync(staticBusybox())),
    program('bin/mender', menderProgram()),
    file('app/main', Buffer.from(app.main)),
    file('app/package.json', Buffer.from('{ "type": "module" }\n')),
    // Every machine of this image boots with it, and is given one of its own with its identity.
    file('etc/machine-id', Buffer.from(`${'0'.repeat(31)}1\n`)),
    file('modules/order', Buffer.from(kernel.modules.map(module => `${module.name}\n`).join(''))),
    ...kernel.modules.map(module => file(`modules/${module.name}`, readFileSync(module.path))),
    ...['data', 'dev', 'proc', 'run', 'sys', 'tmp'].map(name => file(`${name}/.keep`, new Uint8Array())),
    ...sharedLibraries(nodeBinary()),
  ]
  for (const [path, text] of app.files) entries.push(file(`app/${path}`, Buffer.from(text)))
  for (const name of app.packages) entries.push(...packageFiles(name))
  return entries
}

function packageFiles(name: string): ArchiveEntry[] {
  const base = join(root, 'node_modules', name)
  if (!existsSync(base)) throw new Missing(`the package ${name} is not installed`, 'npm ci')
  const { dependencies = {} } = JSON.parse(readFileSync(join(base, 'package.json'), 'utf8'))
  const names = readdirSync(base, { recursive: true, encoding: 'utf8' }).sort()
  const own = names
    .filter(path => /\.(c?m?js|json)$/.test(path) && !path.includes('node_modules/'))
    .filter(path => statSync(join(base, path)).isFile())
    .map(path => file(`app/node_modules/${name}/${path}`, readFileSync(join(base, path))))
  return [...own, ...Object.keys(dependencies).flatMap(packageFiles)]
}

function nodeBinary(): string {
  const path = join(root, 'node_modules/node/bin/node')
  if (!existsSync(path)) throw new Missing('the package node is not installed', 'npm ci')
  return path
}

function staticBusybox(): string {
  for (const path of ['/bin/busybox', '/usr/bin/busybox']) {
    // A static program names no interpreter; the plain `busybox` package's does and cannot run in the image.
    if (existsSync(path) && !readFileSync(path).subarray(0, 4096).includes('/ld-linux'))
      return realpathSync(path)
  }
  throw new Missing('there is no static busybox', 'sudo apt-get install busybox-static')
}

function sharedLibraries(binary: string): ArchiveEntry[] {
  const text = execFileSync('ldd', [binary], { encoding: 'utf8', timeout: 10_000 })
  const paths = [...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(match => match[1]!)
  if (paths.length < 2) throw new Missing(`cannot tell the libraries of ${binary}`, 'npm ci')
  return [
    link('lib', 'usr/lib'),
    link('lib64', 'usr/lib'),
    ...paths.map(path => program(`usr/lib/${path.split('/').at(-1)}`, readFileSync(realpathSync(path)))),
  ]
}

/** Node without its symbols: a seventh smaller. As it is when `strip` is not installed. */
function stripped(node: string, say: (line: string) => void): Buffer {
  const target = join(tmpdir(), `tidegate-node-${randomBytes(6).toString('hex')}`)
  try {
    execFileSync('strip', ['-o', target, node], { stdio: 'ignore', timeout: 60_000 })
    return readFileSync(target)
  } catch {
    say(`strip is not installed (sudo apt-get install binutils): the image is 18 MB larger`)
    return readFileSync(node)
  } finally {
    rmSync(target, { force: true })
  }
}

/**
 * Level 1: under software emulation unpacking costs as much as the rest of the kernel's start. Seen: no compression
 * 9.7 s to the first answer but 50 MB more guest memory touched (and copied by every snapshot), gzip 12.0 s, zstd 13.7 s.
 */
function compress(data: Uint8Array): Buffer {
  return gzipSync(data, { level: 1 })
}

function keyOf(entries: readonly ArchiveEntry[]): string {
  const hash = createHash('sha256').update(`recipe ${recipe}\n`)
  for (const { path, mode, data } of [...entries].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    hash.update(`${path} ${mode} ${data.length}\n`).update(data)
  }
  return hash.digest('hex').slice(0, 32)
}

/** Puts `source` at `target`, as a hard link where the file system allows. */
function place(source: string, target: string): void {
  replaceFile(target, path => {
    try {
      linkSync(source, path)
    } catch {
      copyFileSync(source, path)
    }
  })
}

function replaceFile(target: string, make: (path: string) => void): void {
  const fresh = `${target}.${randomBytes(4).toString('hex')}.tmp`
  try {
    make(fresh)
    renameSync(fresh, target)
  } finally {
    // rename of two links to one file does nothing and leaves the first.
    rmSync(fresh, { force: true })
  }
}

/** Keeps the newest images: each is 45 MB, and every change of the application makes another. */
function forgetOld(images: string, key: string): void {
  const imagesMax = 4
  const byAge = readdirSync(images)
    .filter(name => name !== key)
    .map(name => ({ name, at: statSync(join(images, name)).mtimeMs }))
    .sort((a, b) => b.at - a.at)
  for (const { name } of byAge.slice(imagesMax - 1))
    rmSync(join(images, name), { recursive: true, force: true })
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      ...{ main: { type: 'string' }, out: { type: 'string' }, force: { type: 'boolean' } },
      vmlinux: { type: 'boolean' },
    },
  })
  try {
    const image = buildImage({ ...values, say: line => console.log(line) })
    console.log(
      `${image.built ? 'built' : 'up to date'}: ${image.kernel}\n${dirname(image.initrd)}/initramfs.gz`,
    )
    if (image.vmlinux !== null) console.log(image.vmlinux)
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    console.error(`${error.message}\nfix: ${error.fix}`)
    process.exitCode = 1
  }
}
