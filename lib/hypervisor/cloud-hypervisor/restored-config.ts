/**
 * A snapshot's `config.json` and `state.json` made into a clone's. @pure
 *
 * They are read as JSON of unknown shape and written back with every key kept, because each version has keys that others
 * have not. Numbers are written back as they were read, digit for digit: sizes and addresses have 64 bits, and what
 * JavaScript would round would be another machine.
 *
 *   config.json   the initial file system goes · memory zone → our copy of the memory, mapped privately · TAP and MAC · disks, serial port, vsock: paths
 *   state.json    the list of saved memory ranges → empty, when the saved ranges, end to end, are the memory file itself
 */
import { TidegateError } from '../../errors.ts'
import { diskFile, files, type Json, type Nic } from './vm-config.ts'

export interface RestoredParts {
  readonly nic: Nic
  /** The memory is in the file `ram`, which is mapped privately; else it is read from what was saved. */
  readonly memoryIsFile: boolean
}

/** Throws `snapshot_failed` when it is not a configuration at all. */
export function restoredConfig(text: string, { nic, memoryIsFile }: RestoredParts): string {
  const config = parseExact(text, files.config)
  if (memoryIsFile) mapPrivately(config)
  else keepInNoFile(config)
  // It is opened, though nothing boots from it any more.
  if (isObject(config.payload)) delete config.payload.initramfs
  for (const net of objects(config.net)) {
    net.tap = nic.tap
    // Only what is shown: the guest keeps the address that is in the devices' state.
    if (nic.mac !== null) net.mac = nic.mac
    for (const stale of ['fds', 'host_mac', 'vhost_socket']) delete net[stale]
  }
  objects(config.disks).forEach((disk, index) => {
    if (disk.readonly !== true) disk.path = diskFile(index)
  })
  for (const device of [config.serial, config.console].filter(isObject)) {
    if (device.mode === 'File') device.file = files.serial
    if (device.mode === 'Socket') device.socket = 'serial.sock'
  }
  if (isObject(config.vsock)) config.vsock.socket = 'vsock.sock'
  return JSON.stringify(config)
}

function mapPrivately(config: Json): void {
  const [zone, ...others] = zonesOf(config)
  if (zone === undefined || others.length > 0) throw unusable(files.config, 'its memory is not one zone')
  zone.file = files.ram
  zone.shared = false
}

/** All of it is read from the snapshot: no file may be written through to. */
function keepInNoFile(config: Json): void {
  for (const zone of zonesOf(config)) {
    if (zone.file === undefined || zone.file === null) continue
    delete zone.file
    zone.shared = false
  }
}

function zonesOf(config: Json): Json[] {
  if (!isObject(config.memory)) throw unusable(files.config, 'it has no memory')
  return objects(config.memory.zones)
}

/**
 * The state for a memory that is mapped from a file with the saved ranges in it, one after the other; null when that is
 * not the memory as the machine has it (plugged-in memory, holes in another order) and it must be restored by copying.
 */
export function stateOfMappedMemory(text: string): string | null {
  const state = parseExact(text, files.state)
  const manager = isObject(state.snapshots) ? state.snapshots['memory-manager'] : null
  const data = isObject(manager) ? manager.snapshot_data : null
  if (!isObject(data) || typeof data.state !== 'string') return null
  const memory = parseExact(data.state, files.state)
  const ranges = isObject(memory.memory_ranges) ? memory.memory_ranges.data : null
  if (!Array.isArray(ranges) || !Array.isArray(memory.guest_ram_mappings)) return null
  if (!isLinear(objects(ranges), objects(memory.guest_ram_mappings))) return null
  memory.memory_ranges = { ...(memory.memory_ranges as Json), data: [] }
  data.state = JSON.stringify(memory)
  return JSON.stringify(state)
}

/** Whether each saved range lies in the dump where its mapping expects it in the zone's file. */
function isLinear(ranges: readonly Json[], mappings: readonly Json[]): boolean {
  // Memory that may be plugged in has a mapping of its own; nothing of it is in the zone's file.
  const own = mappings.filter(({ virtio_mem: pluggable }) => pluggable === false)
  if (ranges.length === 0 || ranges.length !== own.length) return false
  let offset = 0
  return ranges.every(range => {
    const mapping = own.find(({ gpa }) => gpa === range.gpa)
    const fits = mapping !== undefined && mapping.size === range.length && mapping.file_offset === offset
    offset += typeof range.length === 'number' ? range.length : Number.NaN
    return fits && Number.isSafeInteger(offset)
  })
}

/** An object whose numbers keep their digits. */
export function parseExact(text: string, what: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text, exactNumber)
  } catch (error) {
    throw unusable(what, error instanceof Error ? error.message : String(error))
  }
  if (!isObject(value)) throw unusable(what, 'it is not an object')
  return value
}

/** JSON.parse gives the digits to its reviver, and JSON.rawJSON writes them back (ECMAScript 2026). */
function exactNumber(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const digits = context?.source
  if (typeof value !== 'number' || digits === undefined || String(value) === digits) return value
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(digits)
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const objects = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : [])

const unusable = (what: string, why: string): TidegateError =>
  new TidegateError('snapshot_failed', `the snapshot's ${what} cannot be used: ${why}; take another snapshot`)
