/**
 * The kept backend connections of one event loop: an agent for each member's tenancy of its slot, so that a connection is never
 * used for a later backend at the same address.
 */
import { Agent, type AgentOptions } from 'node:http'
import type { Member } from '../../cluster/member.ts'
import { connectionsPerMemberMax, pooledIdleMs, pooledPerMemberMax } from '../limits.ts'
import type { TlsHolder } from '../tls/holder.ts'

/** Newest first, so that what is not needed grows old and is closed. */
const agentOptions = {
  keepAlive: true,
  scheduling: 'lifo',
  maxSockets: connectionsPerMemberMax,
  maxFreeSockets: pooledPerMemberMax,
  timeout: pooledIdleMs,
} as const

const freshOptions = { keepAlive: false } as const

export class Pools<T> {
  readonly #pools = new Map<number, { readonly agent: Agent; readonly value: T }>()
  readonly #make: (member: Member, agent: Agent, fresh: Agent) => T
  readonly #tls: TlsHolder | undefined

  /** `make` builds what an engine wants to keep beside the agents of a member; `fresh` keeps no connection. */
  constructor(make: (member: Member, agent: Agent, fresh: Agent) => T, tls: TlsHolder | undefined) {
    this.#make = make
    this.#tls = tls
  }

  of(member: Member): T {
    const key = tenancy(member)
    let pool = this.#pools.get(key)
    if (pool === undefined) {
      const agent = this.#agent(member, agentOptions)
      pool = { agent, value: this.#make(member, agent, this.#agent(member, freshOptions)) }
      this.#pools.set(key, pool)
    }
    return pool.value
  }

  /** Closes idle connections now, and those in use as soon as they are given back. */
  forget(member: Member): void {
    const pool = this.#pools.get(tenancy(member))
    if (pool === undefined) return
    this.#pools.delete(tenancy(member))
    pool.agent.keepSocketAlive = () => false
    for (const sockets of Object.values(pool.agent.freeSockets)) {
      for (const socket of [...(sockets ?? [])]) socket.destroy()
    }
  }

  #agent(member: Member, options: AgentOptions): Agent {
    const agent = new Agent(options)
    const { tls } = member
    if (tls !== null) agent.createConnection = () => this.#tls!.upstream(tls).connect(member, 'http/1.1')
    return agent
  }

  close(): void {
    for (const { agent } of this.#pools.values()) agent.destroy()
    this.#pools.clear()
  }
}

/** Slots are below 2^14 and epochs below 2^24: one exact number. */
const tenancy = (member: Member) => member.slot * 2 ** 24 + member.epoch
