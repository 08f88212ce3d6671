/**
 * A little load whose every request is known to be on somebody: one client is bound to each instance by its cookie, and says where its last answer came
 * from (`X-Tidegate-Backend`); one comes anew each time.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { get } from '../../support/load.ts'
import type { Failure } from './judge.ts'

interface Client {
  /** Null: it comes anew each time. */
  jar: Map<string, string> | null
  /** Of its last answer. */
  instance: string
  answeredAtMs: number
}

const timeoutMs = 200_000
const bindingTriesMax = 20

export class Clients {
  answers = 0
  /** Where the front door is; 0: there is none now. */
  port = 0
  readonly #ttlMs: number
  readonly #pauseMs: number
  readonly #clients: Client[] = [{ jar: null, instance: '', answeredAtMs: 0 }]
  readonly #loops: Promise<void>[] = []
  readonly #underWay = new Set<Promise<void>>()
  #failures: Failure[] = []
  #asking = true
  #resting = true

  constructor({ ttlMs, pauseMs }: { readonly ttlMs: number; readonly pauseMs: number }) {
    this.#ttlMs = ttlMs
    this.#pauseMs = pauseMs
    this.#loops.push(this.#loop(this.#clients[0]!))
  }

  /** Each of them has somebody who is bound to it, if the balancer sends one there at all; from now on they ask. */
  async begin(ids: readonly string[]): Promise<void> {
    while (this.#clients.length < ids.length + 1) {
      const client: Client = { jar: new Map(), instance: '', answeredAtMs: 0 }
      this.#clients.push(client)
      this.#loops.push(this.#loop(client))
    }
    await this.rest()
    for (const [index, id] of ids.entries()) await this.#bind(this.#clients[index + 1]!, id)
    this.#resting = false
  }

  /** Nobody asks any more, and nothing is under way. */
  async rest(): Promise<void> {
    this.#resting = true
    await Promise.all(this.#underWay)
  }

  goOn(): void {
    this.#resting = false
  }

  /** Those since this was called last. */
  failures(): readonly Failure[] {
    return this.#failures.splice(0)
  }

  async close(): Promise<void> {
    this.#asking = false
    await Promise.all(this.#loops)
  }

  async #bind(client: Client, id: string): Promise<void> {
    for (let tries = 0; tries < bindingTriesMax; tries++) {
      client.jar = new Map()
      client.instance = ''
      await this.#ask(client)
      if (client.instance === id) return
    }
  }

  async #loop(client: Client): Promise<void> {
    while (this.#asking) {
      await delay(this.#pauseMs)
      if (this.#resting || this.port === 0) continue
      const asked = this.#ask(client)
      this.#underWay.add(asked)
      await asked
      this.#underWay.delete(asked)
    }
  }

  async #ask(client: Client): Promise<void> {
    const fromMs = Date.now()
    const bound = client.jar !== null && fromMs - client.answeredAtMs < this.#ttlMs
    const answer = await get(this.port, '/whoami', { timeoutMs, ...(client.jar ? { jar: client.jar } : {}) })
      .then(({ status, body, headers }) => ({
        status,
        body,
        by: String(headers['x-tidegate-backend'] ?? ''),
      }))
      .catch(error => ({ status: 0, body: `${error}`, by: '' }))
    const toMs = Date.now()
    if (answer.status === 200) {
      this.answers++
      client.instance = answer.by
      client.answeredAtMs = fromMs
      return
    }
    const instance = answer.by || (bound ? client.instance : '')
    this.#failures.push({ fromMs, toMs, instance, what: `${answer.status} ${answer.body.slice(0, 120)}` })
  }
}
