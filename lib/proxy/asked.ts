/** What an exchange knows of its request before it looks for a member: who asks, for what, and the head for the backend. */
import { isIP } from 'node:net'
import type { AffinityConfig } from '../config/config.ts'
import type { ClientEnd, OutboundHead } from './client-end.ts'
import { clientIp } from './headers.ts'
import type { PickRequest } from './pick.ts'
import type { Asked } from './resilience/at-once.ts'
import type { Screened } from './screen.ts'
import type { TrustedProxies } from './trusted-proxies.ts'

export class AskedFor implements Asked {
  readonly line: Screened
  readonly #client: ClientEnd
  readonly #trustedProxies: TrustedProxies
  /** The peer is a trusted proxy: what it says of earlier hops is believed. */
  readonly #trusted: boolean
  #clientIp: string | null = null
  #head: OutboundHead | null = null

  constructor(client: ClientEnd, line: Screened, trustedProxies: TrustedProxies) {
    this.line = line
    this.#client = client
    this.#trustedProxies = trustedProxies
    this.#trusted = trustedProxies.has(client.peer)
  }

  /** A body that cannot be sent twice. */
  get hasBody(): boolean {
    return this.line.body !== 'none'
  }

  get trusted(): boolean {
    return this.#trusted
  }

  clientIp(): string {
    if (!this.#trusted) return this.#client.peer
    this.#clientIp ??= this.#believed()
    return this.#clientIp
  }

  field(name: string): string | undefined {
    return this.#client.field(name)
  }

  bodyLength(): number {
    return this.#client.body?.length ?? 0
  }

  /** What the choice of a cluster among several reads besides: sessions with any of them. `nowMs`: wall clock. */
  forSplit(affinity: AffinityConfig, nowMs: number): PickRequest {
    const request = this.forPick(affinity, nowMs)
    return { ...request, headers: { ...request.headers, cookie: this.#client.field('cookie') } }
  }

  /** `nowMs`: wall clock. */
  forPick(affinity: AffinityConfig, nowMs: number): PickRequest {
    return {
      clientIp: this.clientIp(),
      path: this.line.target,
      headers: affinityFields(affinity, this.#client),
      secure: this.#client.secure,
      nowMs,
    }
  }

  outbound(): OutboundHead {
    if (this.#head !== null) return this.#head
    const { peer, secure, localPort, protocol } = this.#client
    const version = versions[protocol]
    const { authority } = this.line
    const hop = { peer, trusted: this.#trusted, secure, port: localPort, version, authority }
    this.#head = this.#client.outbound(hop)
    return this.#head
  }

  #believed(): string {
    const client = this.#client
    const said = { 'x-forwarded-for': client.field('x-forwarded-for'), forwarded: client.field('forwarded') }
    return clientIp(client.peer, said, address => this.#trustedProxies.has(address), isAddress)
  }
}

/** The fields that affinity reads, and no others. */
function affinityFields(affinity: AffinityConfig, client: ClientEnd): Record<string, string | undefined> {
  if (affinity.method === 'cookie') return { cookie: client.field('cookie') }
  if (affinity.method !== 'consistent_hashing') return noFields
  const { parameter } = affinity
  if (parameter.from === 'cookie') return { cookie: client.field('cookie') }
  return parameter.from === 'header' ? { [parameter.name]: client.field(parameter.name) } : noFields
}

const versions = { 'HTTP/1.0': '1.0', 'HTTP/1.1': '1.1', 'HTTP/2': '2.0' } as const
const isAddress = (text: string) => isIP(text) !== 0
const noFields = {}
