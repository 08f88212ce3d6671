/**
 * Firecracker's API as this driver speaks it: calls as data, an answer or a reason. Firecracker takes one request after the
 * other, so while it writes a snapshot every other call waits; `GET /` then has no answer, which is not death.
 *
 * Statuses: 204 done, 200 with a body, everything else is a refusal with its words in `fault_message`.
 */
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { type CallLimits, type HttpAnswer, HttpUnixClient } from '../http-unix/client.ts'
import { apiBodyBytesMax, type Call, files } from './calls.ts'

export interface InstanceInfo {
  /** What it was started with as its name. */
  readonly id: string
  readonly state: 'Not started' | 'Running' | 'Paused'
  readonly version: string
}

export interface HotplugStatus {
  readonly pluggedMib: number
  readonly requestedMib: number
}

export class FirecrackerApi {
  readonly #client: HttpUnixClient

  /** Of the Firecracker that runs in `directory`. */
  constructor(directory: string, clock: Clock) {
    const options = { peer: 'Firecracker', requestBytesMax: apiBodyBytesMax }
    this.#client = new HttpUnixClient(join(directory, files.socket), options, clock)
  }

  async send({ method, path, body }: Call, limits: CallLimits): Promise<void> {
    const answer = await this.#client.call(method, path, body, limits)
    if (answer.status !== 204) throw refusal(`${method} ${path}`, answer)
  }

  async info(limits: CallLimits): Promise<InstanceInfo> {
    const { id, state, vmm_version: version } = await this.#get('/', limits)
    if (state === 'Not started' || state === 'Running' || state === 'Paused') {
      return { id: String(id), state, version: String(version) }
    }
    throw misunderstood('/')
  }

  async hotplug(limits: CallLimits): Promise<HotplugStatus> {
    const status = await this.#get('/hotplug/memory', limits)
    const { plugged_size_mib: pluggedMib, requested_size_mib: requestedMib } = status
    if (typeof pluggedMib === 'number' && typeof requestedMib === 'number')
      return { pluggedMib, requestedMib }
    throw misunderstood('/hotplug/memory')
  }

  /** How much the balloon holds. It says what it last heard from the guest, a second old at most. */
  async balloonMib(limits: CallLimits): Promise<number> {
    const { actual_mib: actualMib } = await this.#get('/balloon/statistics', limits)
    if (typeof actualMib === 'number') return actualMib
    throw misunderstood('/balloon/statistics')
  }

  async #get(path: string, limits: CallLimits): Promise<Record<string, unknown>> {
    const answer = await this.#client.call('GET', path, undefined, limits)
    if (answer.status !== 200) throw refusal(`GET ${path}`, answer)
    if (typeof answer.body !== 'object' || answer.body === null) throw misunderstood(path)
    return answer.body as Record<string, unknown>
  }
}

const wordsCharsMax = 500

function refusal(what: string, { status, body, text }: HttpAnswer): TidegateError {
  const said = (body as { fault_message?: unknown } | undefined)?.fault_message
  const words = (typeof said === 'string' ? said : text).slice(0, wordsCharsMax)
  const code = /no space left|os error 28\b/i.test(words) ? 'disk_full' : 'hypervisor_failed'
  return new TidegateError(code, `Firecracker refused ${what}: ${words || `status ${status}`}`, {
    details: { status },
  })
}

const misunderstood = (path: string) =>
  new TidegateError('hypervisor_unreachable', `what Firecracker answers to GET ${path} is not understood`)
