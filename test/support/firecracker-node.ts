/** A node with the Firecracker double for its tests: the binary as a file, and a network that is ports of 127.0.0.1. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { createFirecrackerDriver } from '../../lib/hypervisor/firecracker/driver.ts'
import { guestNet, type Network } from '../../lib/hypervisor/network/network.ts'
import { freePorts } from '../../lib/hypervisor/network/ports.ts'
import { silentLog } from '../../lib/log.ts'
import { bootFiles } from './boot-files.ts'

export interface DoubleOptions {
  readonly version?: string
  readonly format?: string
  /** `METHOD /path` → what happens instead, or right after. */
  readonly faults?: Readonly<Record<string, 'die' | 'hang' | 'refuse' | 'refuse-and-end' | 'die-after'>>
  readonly kernel?: 'boots' | 'spins'
  /** What is wished of its memory the guest hears and does not do. */
  readonly guestKeepsMemory?: boolean
  /** It answers as another one. */
  readonly id?: string
}

/** Writes the double into `directory` as a program called `firecracker`, in place of one that was there. */
export function doubleBinary(directory: string, options: DoubleOptions = {}): string {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'firecracker')
  const {
    version = '1.16.1',
    format = '10.0.0',
    faults = {},
    kernel = 'boots',
    id,
    guestKeepsMemory = false,
  } = options
  const words = [
    ...['--double-version', version, '--double-format', format],
    ...(id === undefined ? [] : ['--double-id', id]),
    ...(guestKeepsMemory ? ['--double-guest-keeps-memory'] : []),
    ...[
      '--double-faults',
      Object.entries(faults)
        .map(fault => fault.join('='))
        .join(','),
    ],
  ]
  const double = join(import.meta.dirname, 'firecracker-double.ts')
  const command = [process.execPath, '--no-warnings', double, ...words].map(word => `'${word}'`).join(' ')
  // Its later starts take a third of the first one's time.
  const cache = `NODE_COMPILE_CACHE='${join(tmpdir(), 'tidegate-double-cache')}'`
  // What needs no API is said without Node, which would take its time for it.
  const trial = kernel === 'boots' ? "echo '[    0.000000] Linux version 6.1.0'; exit 1" : 'exec sleep 60'
  const short = [
    `--version) echo 'Firecracker v${version}'; exit ;;`,
    `--snapshot-version) echo 'v${format}'; exit ;;`,
    `--no-api) ${trial} ;;`,
  ]
  writeFileSync(path, `#!/bin/sh\ncase "$1" in\n${short.join('\n')}\nesac\n${cache} exec ${command} "$@"\n`)
  chmodSync(path, 0o755)
  return path
}

/** Tells the double where the guest's ports are. Its one TAP device is called `tap`. */
export function loopbackNetwork(tap = 'tap0'): Network & { readonly attached: Set<string> } {
  const attached = new Set<string>()
  return {
    attached,
    kind: 'namespace',
    check: async () => [{ name: 'network', ok: true, detail: 'ports of 127.0.0.1' }],
    async attach({ directory, ports }, signal) {
      signal.throwIfAborted()
      const free = await freePorts(ports.length)
      attached.add(directory)
      const forwards = ports.map((guestPort, i) => ({ guestPort, hostPort: free[i]! }))
      const told = forwards.map(({ guestPort, hostPort }) => `${guestPort}:${hostPort}`).join(',')
      return {
        kind: 'namespace',
        host: '127.0.0.1',
        forwards,
        enter: ['/usr/bin/env', `DOUBLE_PORTS=${told}`, `DOUBLE_TAPS=${tap}`],
        tap: { name: tap, guestMac: guestNet.mac },
      }
    },
    async detach(directory) {
      attached.delete(directory)
    },
    async sweep() {},
  }
}

export const doubleResources = { cpus: 1, memoryBytes: 128 * 2 ** 20, diskBytes: 64 * 2 ** 20 } as const

export function doubleDriver(
  directory: string,
  binary: string,
  network: Network = loopbackNetwork(),
  clock: Clock = systemClock,
) {
  const node = { id: 'local', zone: 'a', capacity: doubleResources, directory, options: { binary } } as const
  return createFirecrackerDriver({ ...node, driver: 'firecracker' }, { clock, log: silentLog, network })
}

export const doubleTemplate = bootFiles()
