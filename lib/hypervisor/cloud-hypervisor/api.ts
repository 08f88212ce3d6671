/**
 * Cloud Hypervisor's API, as its OpenAPI document has it and as its source answers. One method an endpoint.
 *
 * - Success is 200 with a body or 204 without; `add…` gives 200 to a running VM and 204 to one that is only configured.
 * - A wrong state is 500, not the documented 405. `pause`, `resume`, `boot` and `shutdown` therefore ask after a refusal
 *   what the state is, and what is already so is a success.
 * - Actions without parameters are refused (400) when any body comes with them, `{}` included: they send none.
 * - The hypervisor answers one call at a time. While it saves or restores, every other call waits, `ping` too, so a call
 *   that is not answered in time says nothing of its health (`NoAnswer`, `still_working`). Long acts get a deadline by the
 *   memory's size (`memoryDeadlineMs`).
 * - Optional fields may be null (before 53) or missing.
 */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { type CallLimits, type HttpAnswer, HttpUnixClient } from '../http-unix/client.ts'
import type { Json } from './vm-config.ts'

export type VmState = 'Created' | 'Running' | 'Shutdown' | 'Paused' | 'BreakPoint'

export interface VmInfo {
  readonly state: VmState
  readonly config: Json
  readonly memoryActualBytes: number | null
  readonly devices: readonly string[]
}

export interface Pong {
  readonly version: string
  readonly pid: number | null
  readonly features: readonly string[]
}

export interface RestoreRequest {
  /** Absolute path of the directory. */
  readonly source: string
  readonly mode?: string | undefined
}

export interface Resize {
  readonly desired_vcpus?: number
  readonly desired_ram?: number
  readonly desired_balloon?: number
}

/** Device → counter → value: bytes and operations of disks and networks. */
export type Counters = Readonly<Record<string, Readonly<Record<string, number>>>>

/** It answered, and said no. `words` is its chain of reasons. */
export class Refused extends TidegateError {
  readonly answered: number
  readonly words: string

  constructor(endpoint: string, answered: number, words: string) {
    const message = `Cloud Hypervisor refused ${endpoint} (${answered})${words === '' ? '' : `: ${words}`}`
    super('hypervisor_failed', message, { details: { endpoint, status: answered } })
    this.answered = answered
    this.words = words
  }
}

const requestBytesMax = 4 * 1024 * 1024
const wordsCharsMax = 600
/** Between two looks at what a guest has still to do. */
const pollMs = 20
const root = '/api/v1'
export class CloudHypervisorApi {
  readonly #client: HttpUnixClient
  readonly #clock: Clock

  constructor(socket: string, clock: Clock) {
    this.#clock = clock
    this.#client = new HttpUnixClient(socket, { peer: 'Cloud Hypervisor', requestBytesMax }, clock)
  }

  async ping(limits: CallLimits): Promise<Pong> {
    const body = objectOf(await this.#ask('GET', 'vmm.ping', undefined, limits), 'vmm.ping')
    const version = typeof body.version === 'string' ? body.version : ''
    const features = Array.isArray(body.features)
      ? body.features.filter(item => typeof item === 'string')
      : []
    const pid = typeof body.pid === 'number' ? body.pid : null
    return { version, pid, features }
  }

  /** Null when there is no VM: 404 from 53 on, 500 before. */
  async info(limits: CallLimits): Promise<VmInfo | null> {
    try {
      const body = objectOf(await this.#ask('GET', 'vm.info', undefined, limits), 'vm.info')
      const { state, config, memory_actual_size: actual, device_tree: devices } = body
      return {
        state: stateOf(state),
        config: objectOf(config, 'vm.info'),
        memoryActualBytes: typeof actual === 'number' ? actual : null,
        devices: Object.keys(objectOf(devices ?? {}, 'vm.info')),
      }
    } catch (error) {
      if (error instanceof Refused && (error.answered === 404 || /not created/i.test(error.words)))
        return null
      throw error
    }
  }

  async counters(limits: CallLimits): Promise<Counters> {
    const body = objectOf(await this.#ask('GET', 'vm.counters', undefined, limits), 'vm.counters')
    const numbers = (value: unknown) =>
      Object.fromEntries(
        // The largest number of 64 bits is what a minimum is before the first sample.
        Object.entries(objectOf(value, 'vm.counters')).filter(([, n]) => Number.isSafeInteger(n)),
      ) as Record<string, number>
    return Object.fromEntries(Object.entries(body).map(([device, values]) => [device, numbers(values)]))
  }

  async create(config: Json, limits: CallLimits): Promise<void> {
    await this.#ask('PUT', 'vm.create', config, limits)
  }

  boot(limits: CallLimits): Promise<void> {
    return this.#until('vm.boot', ['Running'], limits)
  }

  pause(limits: CallLimits): Promise<void> {
    return this.#until('vm.pause', ['Paused'], limits)
  }

  resume(limits: CallLimits): Promise<void> {
    return this.#until('vm.resume', ['Running'], limits)
  }

  /** After it the VM is `Created`, not `Shutdown`. */
  shutdown(limits: CallLimits): Promise<void> {
    return this.#until('vm.shutdown', ['Created', 'Shutdown'], limits)
  }

  async powerButton(limits: CallLimits): Promise<void> {
    await this.#ask('PUT', 'vm.power-button', undefined, limits)
  }

  /** A running one is shut down first; none is a success. */
  async delete(limits: CallLimits): Promise<void> {
    await this.#ask('PUT', 'vm.delete', undefined, limits)
  }

  /** Ends the hypervisor. */
  async vmmShutdown(limits: CallLimits): Promise<void> {
    await this.#ask('PUT', 'vmm.shutdown', undefined, limits)
  }

  /** Of a paused VM, into an existing directory with nothing in it. */
  async snapshot(directory: string, limits: CallLimits): Promise<void> {
    await this.#ask('PUT', 'vm.snapshot', { destination_url: `file://${directory}` }, limits)
  }

  /** The VM is paused afterwards. On failure there is none. */
  async restore({ source, mode }: RestoreRequest, limits: CallLimits): Promise<void> {
    const request = {
      source_url: `file://${source}`,
      ...(mode === undefined ? {} : { memory_restore_mode: mode }),
    }
    await this.#ask('PUT', 'vm.restore', request, limits)
  }

  /** False: it is still taking CPUs away from an earlier call (429). */
  async resize(resize: Resize, limits: CallLimits): Promise<boolean> {
    return this.#unlessBusy('vm.resize', { ...resize }, limits)
  }

  async resizeZone(id: string, bytes: number, limits: CallLimits): Promise<void> {
    await this.#ask('PUT', 'vm.resize-zone', { id, desired_ram: bytes }, limits)
  }

  async resizeDisk(id: string, bytes: number, limits: CallLimits): Promise<void> {
    await this.#ask('PUT', 'vm.resize-disk', { id, desired_size: bytes }, limits)
  }

  /** The device's place on the guest's bus; null when the VM is not running and the device only noted. */
  async add(
    kind: 'disk' | 'net' | 'device' | 'vsock' | 'fs' | 'pmem',
    config: Json,
    limits: CallLimits,
  ): Promise<{ readonly id: string; readonly bdf: string } | null> {
    const body = await this.#ask('PUT', `vm.add-${kind}`, config, limits)
    if (body === undefined) return null
    const { id, bdf } = objectOf(body, `vm.add-${kind}`)
    return { id: String(id), bdf: String(bdf) }
  }

  /**
   * The answer says only that the guest was asked to let go of it: it is gone when `info` no longer lists it. False: after
   * `guestTimeoutMs` the guest still had it.
   */
  async removeDevice(id: string, guestTimeoutMs: number, limits: CallLimits): Promise<boolean> {
    await this.#ask('PUT', 'vm.remove-device', { id }, limits)
    const deadline = this.#clock.monotonic() + guestTimeoutMs
    while ((await this.info(limits))?.devices.includes(id)) {
      if (this.#clock.monotonic() >= deadline) return false
      await this.#clock.sleep(pollMs, limits.signal)
    }
    return true
  }

  /** An act that is idempotent here and not there. */
  async #until(endpoint: string, wanted: readonly VmState[], limits: CallLimits): Promise<void> {
    try {
      await this.#ask('PUT', endpoint, undefined, limits)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      const info = await this.info(limits)
      if (info === null || !wanted.includes(info.state)) throw error
    }
  }

  async #unlessBusy(endpoint: string, body: Json, limits: CallLimits): Promise<boolean> {
    try {
      await this.#ask('PUT', endpoint, body, limits)
      return true
    } catch (error) {
      if (error instanceof Refused && error.answered === 429) return false
      throw error
    }
  }

  async #ask(method: 'GET' | 'PUT', endpoint: string, body: unknown, limits: CallLimits): Promise<unknown> {
    const answer = await this.#client.call(method, `${root}/${endpoint}`, body, limits)
    if (answer.status === 200 || answer.status === 204) return answer.body
    throw new Refused(endpoint, answer.status, reasonOf(answer))
  }
}

/** A JSON array of reasons, outermost first; older versions and some answers are plain text. */
function reasonOf({ body, text }: HttpAnswer): string {
  const chain = Array.isArray(body) ? body.filter(item => typeof item === 'string').join(': ') : text.trim()
  return chain.slice(0, wordsCharsMax)
}

function stateOf(value: unknown): VmState {
  const known: readonly unknown[] = ['Created', 'Running', 'Shutdown', 'Paused', 'BreakPoint']
  if (known.includes(value)) return value as VmState
  throw notUnderstood('vm.info', `state ${JSON.stringify(value)}`)
}

function objectOf(value: unknown, endpoint: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw notUnderstood(endpoint, 'no object')
}

const notUnderstood = (endpoint: string, what: string): TidegateError =>
  new TidegateError(
    'hypervisor_unreachable',
    `Cloud Hypervisor's answer to ${endpoint} is not understood: ${what}`,
  )
