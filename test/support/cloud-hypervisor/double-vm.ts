/** The VM of the double: its states, its files, and what it refuses, with the words and codes of version 53. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../wait.ts'
import type { Faults } from './binary.ts'
import { DoubleGuest, type Image, packed, unpacked } from './double-guest.ts'

/** An answer that is no success. */
export class No extends Error {
  readonly status: number
  readonly reasons: readonly string[]
  constructor(status: number, ...reasons: string[]) {
    super(reasons.join(': '))
    this.status = status
    this.reasons = reasons
  }
}

type Json = Record<string, unknown>
interface Zone {
  id: string
  size: number
  file?: string
  shared?: boolean
  hotplug_size?: number
  hotplugged_size?: number
}
interface Config {
  cpus: { boot_vcpus: number; max_vcpus: number }
  memory: { size: number; hotplugged_size?: number; hotplug_size?: number; zones?: Zone[] }
  payload: { kernel: string; initramfs?: string }
  net?: { id: string; tap: string }[]
  disks?: { id: string; path: string; readonly?: boolean }[]
  serial?: { mode: string; file?: string }
}

const notRunning = 'VM is not running'

export class DoubleVm {
  readonly #faults: Faults
  readonly #event: (name: string) => void
  #config: Config | null = null
  #guest: DoubleGuest | null = null
  #paused = false
  /** What the guest has in memory that is in no file. */
  #image: Image | null = null
  /** Memory that was read and not mapped. */
  #resident: Buffer | null = null
  #restoring = false
  #removalsPending = 0
  readonly #devices = new Set<string>()

  constructor(faults: Faults, event: (name: string) => void) {
    this.#faults = faults
    this.#event = event
  }

  bare(endpoint: string): (() => unknown) | undefined {
    const all: Record<string, () => unknown> = {
      'vm.boot': () => this.#boot(),
      'vm.pause': () => this.#pause(),
      'vm.resume': () => this.#resume(),
      'vm.shutdown': () => this.#shutdown(),
      'vm.delete': () => this.#delete(),
      'vm.power-button': () => this.#living('The power button could not be pressed') && undefined,
      'vmm.shutdown': () => this.#delete(),
    }
    return all[endpoint]
  }

  withBody(endpoint: string): ((body: Json) => unknown) | undefined {
    const all: Record<string, (body: Json) => unknown> = {
      'vm.create': body => this.#create(body),
      'vm.snapshot': body => this.#snapshot(body),
      'vm.restore': body => this.#restore(body),
      'vm.resize': body => this.#resize(body),
      'vm.resize-zone': body => this.#resizeZone(body),
      'vm.resize-disk': body => this.#resizeDisk(body),
      'vm.remove-device': body => this.#remove(body),
      'vm.add-disk': body => this.#add('disks', body),
      'vm.add-net': body => this.#add('net', body),
      'vm.add-device': body => this.#add('devices', body),
    }
    return all[endpoint]
  }

  info(): Json {
    const config = this.#config
    if (config === null) {
      const status = this.#major >= 53 ? 404 : 500
      throw new No(status, 'Error from API', 'The VM info is not available', 'VM is not created')
    }
    const [zone] = config.memory.zones ?? []
    const base = zone?.size ?? config.memory.size
    const plugged = (zone?.hotplugged_size ?? config.memory.hotplugged_size) || 0
    const followed = this.#faults.guestIgnoresMemory ? 0 : plugged
    const state = this.#guest === null ? 'Created' : this.#paused ? 'Paused' : 'Running'
    const devices = Object.fromEntries([...this.#devices].map(id => [id, { id }]))
    return {
      config: this.#written(config),
      state,
      memory_actual_size: base + followed,
      ...(this.#guest !== null ? { device_tree: devices } : this.#major >= 53 ? {} : { device_tree: null }),
    }
  }

  counters(): Json {
    this.#living('The VM info is not available')
    return {
      net0: { tx_bytes: this.#faults.noAgent?.sentBytes ?? 0, rx_bytes: 0 },
      disk0: { read_bytes: 0, read_latency_min: 18446744073709551615n.toString() },
    }
  }

  #create(body: Json): void {
    for (const key of ['cpus', 'memory', 'payload']) {
      if (key in body && typeof body[key] !== 'object')
        throw new No(400, 'Failed to deserialize JSON', `invalid type: ${key}`)
    }
    if (this.#config !== null)
      throw new No(500, 'Error from API', 'The VM could not be created', 'VM is already created')
    this.#config = structuredClone(body) as unknown as Config
    this.#openSerial()
  }

  async #boot(): Promise<void> {
    const why = 'The VM could not boot'
    if (this.#guest !== null) throw new No(500, 'Error from API', why, 'VM is already created')
    const config = this.#config
    if (config === null) throw new No(404, 'Error from API', why, 'VM config is missing')
    this.#event('booting')
    const { kernel, initramfs } = config.payload
    for (const path of [kernel, initramfs ?? '']) {
      if (!existsSync(path)) throw new No(500, 'Error from API', why, path)
    }
    this.#backing(why)
    this.#guest = await DoubleGuest.boot(readFileSync(initramfs ?? ''), this.#tap(why), !this.#faults.noAgent)
    this.#started()
    this.#event('booted')
  }

  async #pause(): Promise<void> {
    const guest = this.#living('The VM could not be paused')
    this.#event('pausing')
    if (this.#paused) {
      const why = 'Invalid transition: InvalidStateTransition(Paused, Paused)'
      throw new No(500, 'Error from API', 'The VM could not be paused', why)
    }
    this.#image = await guest.pause()
    this.#paused = true
    const file = this.#sharedFile()
    // What is mapped shared is in its file all the time; here it is when the guest stands still.
    if (file !== null) writeFileSync(file, packed(this.#image), { flag: 'r+' })
    this.#event('paused')
  }

  #resume(): void {
    const guest = this.#living('The VM could not resume')
    this.#event('resuming')
    if (!this.#paused) {
      const why = 'Invalid transition: InvalidStateTransition(Running, Running)'
      throw new No(500, 'Error from API', 'The VM could not resume', why)
    }
    guest.resume()
    this.#paused = false
    this.#event('resumed')
  }

  #shutdown(): void {
    const guest = this.#living('The VM could not shutdown')
    guest.kill()
    this.#guest = null
    this.#event('shutdown')
  }

  #delete(): void {
    if (this.#config === null) return
    if (this.#guest !== null) this.#shutdown()
    this.#config = null
    this.#resident?.fill(0)
    this.#resident = null
    this.#event('deleted')
  }

  async #snapshot({ destination_url: url }: Json): Promise<void> {
    const why = 'The VM could not be snapshotted'
    this.#living(why)
    if (this.#restoring)
      throw new No(500, 'Error from API', why, 'VM on-demand memory restore is still in progress')
    this.#event('snapshotting')
    if (!this.#paused) throw new No(500, 'Error from API', why, 'Trying to snapshot while VM is running')
    const target = directoryOf(url, why)
    const [zone] = this.#config!.memory.zones ?? []
    const size = zone?.size ?? this.#config!.memory.size
    const ranges = this.#sharedFile() === null ? [{ gpa: 0, length: size }] : []
    this.#event('snapshotted')
    const released = this.#faults.snapshotWritesUntil
    if (released !== undefined) await until('it may go on', () => existsSync(released))
    try {
      const config = JSON.stringify(this.#written(this.#config!))
      writeFileSync(join(target, 'config.json'), config, { flag: 'wx' })
      writeFileSync(join(target, 'state.json'), stateJson(ranges, size, zone?.id ?? 'mem0'), { flag: 'wx' })
      if (ranges.length > 0) {
        writeFileSync(join(target, 'memory-ranges'), packed(this.#image!, size), { flag: 'wx' })
      }
    } catch (error) {
      throw new No(500, 'Error from API', why, 'Error creating VM config snapshot file', String(error))
    }
  }

  async #restore(body: Json): Promise<void> {
    const why = 'The VM could not be restored'
    if (this.#config !== null) throw new No(500, 'Error from API', why, 'VM is already created')
    const mode = this.#restoreMode(body.memory_restore_mode)
    const source = directoryOf(body.source_url, why)
    const text = readFileSync(join(source, 'config.json'), 'utf8')
    this.#config = JSON.parse(text, (_key, value) => (value === null ? undefined : value)) as Config
    try {
      const { initramfs } = this.#config.payload
      if (initramfs !== undefined && !existsSync(initramfs)) {
        throw new No(500, 'Error from API', why, 'Cannot open initramfs file')
      }
      this.#backing(why)
      const ranges = rangesOf(readFileSync(join(source, 'state.json'), 'utf8'))
      const [zone] = this.#config.memory.zones ?? []
      const dump = join(source, 'memory-ranges')
      if (mode !== 'Copy' && !existsSync(dump))
        throw new No(500, 'Error from API', why, 'No such file or directory')
      const file = ranges.length > 0 ? dump : zone?.file
      if (file === undefined) throw new No(500, 'Error from API', why, 'the memory is nowhere')
      this.#event('restoring')
      this.#openSerial()
      this.#image = unpacked(file)
      if (this.#faults.eager || (mode === 'Copy' && ranges.length > 0)) this.#resident = readFileSync(file)
      this.#guest = await DoubleGuest.restore(this.#image, this.#tap(why))
      this.#paused = true
      this.#started()
      if (mode === 'OnDemand') this.#restoring = true
      this.#event('restored')
    } catch (error) {
      this.#config = null
      throw error instanceof No ? error : new No(500, 'Error from API', why, String(error))
    }
  }

  /** Before 52 the word is not known, and what is not known is not looked at. */
  #restoreMode(word: unknown): string {
    if (word === undefined || this.#major < 52) return 'Copy'
    const known = this.#major >= 54 ? ['Copy', 'OnDemand', 'CopyOnWrite'] : ['Copy', 'OnDemand']
    if (!known.includes(String(word)))
      throw new No(400, 'Failed to deserialize JSON', `unknown variant \`${word}\``)
    return String(word)
  }

  /** As it is told and saved: before 53 with null for what is not set. */
  #written(config: Config): object {
    if (this.#major >= 53) return config
    const { memory } = config
    const zones =
      memory.zones?.map(zone => ({ host_numa_node: null, hotplugged_size: null, ...zone })) ?? null
    const unset = { disks: null, net: null, fs: null, vsock: null, devices: null, platform: null }
    return { ...unset, ...config, memory: { hotplug_size: null, hotplugged_size: null, ...memory, zones } }
  }

  get #major(): number {
    return Number.parseInt(this.#faults.version ?? '', 10)
  }

  #resize({ desired_vcpus: cpus, desired_ram: ram }: Json): void {
    const why = 'The VM could not be resized'
    const config = this.#configured(why)
    if (typeof cpus === 'number') {
      if (this.#removalsPending > 0 && this.#removalsPending-- > 0) throw new No(429, 'Too Many Requests')
      if (cpus > config.cpus.max_vcpus) {
        throw new No(500, 'Error from API', why, 'CPU manager error', 'Requested vCPUs exceed maximum')
      }
      if (cpus < config.cpus.boot_vcpus) this.#removalsPending = this.#faults.slowCpuRemovals ?? 0
      config.cpus.boot_vcpus = cpus
    }
    if (typeof ram === 'number') {
      if (config.memory.zones)
        throw new No(500, 'Error from API', why, 'Memory manager error', 'memory zones')
      config.memory.hotplugged_size = this.#plugged(ram, config.memory, why)
    }
  }

  #resizeZone({ id, desired_ram: ram }: Json): void {
    const why = 'The memory zone could not be resized'
    const zone = this.#configured(why).memory.zones?.find(zone => zone.id === id)
    if (zone === undefined) throw new No(500, 'Error from API', why, 'Failed resizing a memory zone')
    zone.hotplugged_size = this.#plugged(Number(ram), zone, why)
  }

  #plugged(
    ram: number,
    { size, hotplug_size: most = 0 }: { size: number; hotplug_size?: number },
    why: string,
  ): number {
    const more = ram - size
    if (more < 0) {
      const sizes = `desired_size = ${ram} below boot size = ${size}`
      throw new No(500, 'Error from API', why, 'Memory manager error', `Invalid resize request: ${sizes}`)
    }
    if (more > most || more % (128 * 2 ** 20) !== 0)
      throw new No(500, 'Error from API', why, 'virtio-mem resize failed')
    return more
  }

  #resizeDisk({ id, desired_size: size }: Json): void {
    const why = 'The disk could not be resized'
    const disk = this.#configured(why).disks?.find(disk => disk.id === id)
    if (disk === undefined) throw new No(500, 'Error from API', why, 'Failed resizing disk')
    const from = statSync(disk.path).size
    if (Number(size) > from) writeFileSync(disk.path, Buffer.alloc(Number(size) - from), { flag: 'a' })
  }

  #add(kind: 'disks' | 'net' | 'devices', device: Json): unknown {
    const config = this.#configured('The device could not be added to the VM') as unknown as Record<
      string,
      Json[]
    >
    const list = config[kind] ?? []
    config[kind] = list
    const id = String(device.id ?? `_${kind}${list.length}`)
    const ids = ['disks', 'net', 'devices'].flatMap(name => config[name] ?? []).map(entry => entry.id)
    if (ids.includes(id)) {
      const words = [
        'The device could not be added to the VM',
        `Failed to validate config: Identifier ${id} is not unique`,
      ]
      throw new No(500, 'Error from API', ...words)
    }
    if (kind === 'devices' && !existsSync(String(device.path)))
      throw new No(
        500,
        'Error from API',
        'The device could not be added to the VM',
        'No such file or directory',
      )
    list.push({ ...device, id })
    if (this.#guest === null) return undefined
    this.#devices.add(id)
    return { id, bdf: `0000:00:${(this.#devices.size + 4).toString(16).padStart(2, '0')}.0` }
  }

  #remove({ id }: Json): void {
    const why = 'The device could not be removed from the VM'
    const config = this.#configured(why) as unknown as Record<string, Json[]>
    for (const kind of ['disks', 'net', 'devices']) {
      const index = config[kind]?.findIndex(device => device.id === id) ?? -1
      if (index < 0) continue
      config[kind]!.splice(index, 1)
      // The guest lets go of it in its own time.
      if (!this.#faults.guestKeepsDevices) setTimeout(() => this.#devices.delete(String(id)), 20)
      return
    }
    throw new No(
      500,
      'Error from API',
      why,
      `Failed to find device corresponding to the given identifier: ${id}`,
    )
  }

  #living(why: string): DoubleGuest {
    if (this.#guest === null) throw new No(500, 'Error from API', why, notRunning)
    return this.#guest
  }

  #configured(why: string): Config {
    if (this.#config === null) throw new No(404, 'Error from API', why, 'VM is not created')
    return this.#config
  }

  #started(): void {
    this.#guest!.ended.then(() => process.exit(0))
    for (const { id } of [...(this.#config!.disks ?? []), ...(this.#config!.net ?? [])]) this.#devices.add(id)
  }

  /** The file that memory is written through to. */
  #sharedFile(): string | null {
    const [zone] = this.#config?.memory.zones ?? []
    return zone?.file !== undefined && zone.shared === true ? zone.file : null
  }

  #backing(why: string): void {
    const paths = [...(this.#config!.disks ?? []).map(disk => disk.path)]
    for (const zone of this.#config!.memory.zones ?? []) if (zone.file !== undefined) paths.push(zone.file)
    for (const path of paths) {
      if (!existsSync(path)) throw new No(500, 'Error from API', why, `No such file or directory: ${path}`)
    }
  }

  #tap(why: string): string {
    const tap = this.#config!.net?.[0]?.tap ?? ''
    if (!/^tg[0-9a-f]{8}$/.test(tap)) throw new No(500, 'Error from API', why, `Failed to open taps: ${tap}`)
    return tap
  }

  /** It is made anew, and emptied, by whoever starts. */
  #openSerial(): void {
    const { mode, file } = this.#config?.serial ?? { mode: 'Off' }
    if (mode === 'File' && file !== undefined) writeFileSync(file, '')
  }
}

function directoryOf(url: unknown, why: string): string {
  const path = /^file:\/\/(.+)$/.exec(String(url))?.[1]
  if (path === undefined || !existsSync(path))
    throw new No(500, 'Error from API', why, 'the directory does not exist')
  return path
}

/** The part of the real one's state that tells of memory; a state within a state, as text. */
function stateJson(data: Json[], size: number, zone: string): string {
  const mapping = { slot: 0, gpa: 0, size, zone_id: zone, virtio_mem: false, file_offset: 0 }
  const memory = { memory_ranges: { data }, guest_ram_mappings: [mapping], boot_ram: size, current_ram: size }
  const manager = { snapshots: {}, snapshot_data: { state: JSON.stringify(memory) } }
  return JSON.stringify({ snapshots: { 'memory-manager': manager }, snapshot_data: null })
}

function rangesOf(text: string): unknown[] {
  return JSON.parse(JSON.parse(text).snapshots['memory-manager'].snapshot_data.state).memory_ranges.data
}
