/** The double as a program that a driver can be given, and the network that its guests are reached by. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { guestNet, type Network } from '../../../lib/hypervisor/network/network.ts'
import { freePorts } from '../../../lib/hypervisor/network/ports.ts'

/** How the double misbehaves. */
export interface Faults {
  readonly version?: string
  /** What it says is its process. */
  readonly pid?: number
  /** A kernel ends without a word. */
  readonly noBoot?: boolean
  /** Endpoint → how long its answer, and all behind it, waits. */
  readonly slowMs?: Readonly<Record<string, number>>
  /** Endpoint → why it is refused (500). */
  readonly refuse?: Readonly<Record<string, string>>
  /** It writes the memory, after `snapshotted` was said, until this file is there. */
  readonly snapshotWritesUntil?: string
  /** A restore that was to be lazy reads all of the memory, and says nothing of it. */
  readonly eager?: boolean
  /** The guest does not let go of devices. */
  readonly guestKeepsDevices?: boolean
  /** The guest's agent does not come up; the guest has sent so many bytes when it should have. */
  readonly noAgent?: { readonly sentBytes: number }
  /** The guest plugs nothing in. */
  readonly guestIgnoresMemory?: boolean
  /** How often it is still taking CPUs away (429). */
  readonly slowCpuRemovals?: number
}

/** Path of a program that runs the double. */
export function doubleBinary(t: Test, faults: Faults = {}): string {
  const directory = mkdtempSync(join(tmpdir(), 'cloud-hypervisor-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'cloud-hypervisor')
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`
  const main = join(import.meta.dirname, 'double.ts')
  const { version = '53.0.0', noBoot = false } = faults
  const trial = noBoot
    ? 'exit 1'
    : '[ -f "$2" ] || exit 1; echo "[    0.000000] Linux version 6.1.0 (double)"; exec sleep 60'
  const lines = [
    '#!/bin/sh',
    // What needs no API is said without Node, which would take its time for it.
    'case "$1" in',
    `--version) echo ${quoted(`cloud-hypervisor v${version}`)}; exit ;;`,
    // Somebody tries whether a kernel comes up.
    `--kernel) ${trial} ;;`,
    'esac',
    `export TIDEGATE_DOUBLE=${quoted(JSON.stringify({ ...faults, version }))}`,
    `exec ${quoted(process.execPath)} ${quoted(main)} "$@"`,
  ]
  writeFileSync(path, `${lines.join('\n')}\n`, { mode: 0o700 })
  return path
}

/** Ports of 127.0.0.1 in the place of a namespace: the TAP's name tells the double which. */
export const loopbackNetwork: Network = {
  kind: 'namespace',
  check: async () => [],
  attach: async ({ ports }) => {
    const [app, agent] = (await freePorts(2)) as [number, number]
    const hex = (port: number) => port.toString(16).padStart(4, '0')
    return {
      kind: 'namespace',
      host: '127.0.0.1',
      forwards: [
        { hostPort: app, guestPort: ports[0]! },
        { hostPort: agent, guestPort: ports[1]! },
      ],
      enter: [],
      tap: { name: `tg${hex(app)}${hex(agent)}`, guestMac: guestNet.mac },
    }
  },
  detach: async () => {},
  sweep: async () => {},
}
