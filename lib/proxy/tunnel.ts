/**
 * Upgraded connections: every byte of both directions passes here, so that a tunnel can be counted, timed out, and closed
 * with a Close frame between two frames. It never looks into a payload.
 *
 *   new ──open()──► open ──close()──► closing ──both said Close, or 2 s──► ended
 *                     └── either side ends, breaks, is silent too long, or cut() ──────▲
 */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { Clock } from '../clock.ts'
import type { Member } from '../cluster/member.ts'
import type { CloseCode } from '../config/config.ts'
import { Deadlines, type Timed } from './deadlines.ts'
import type { BackendEnd, TunnelEnd } from './forward/forward.ts'
import { readWith } from './forward/relay/shared-read-socket.ts'
import { writeLent } from './lent-write.ts'
import { closeHandshakeMs } from './limits.ts'
import { spreadOver } from './spread.ts'
import { CloseInjector, closeFrame } from './websocket-frames.ts'

interface Told {
  readonly code: CloseCode
  readonly reason: string
}

/** All tunnels of one event loop. */
export class Tunnels {
  readonly deadlines: Deadlines
  readonly clock: Clock
  readonly #random: () => number
  /** Oldest first. */
  readonly #open = new Set<Tunnel>()
  /** What ends a spread of closes that is under way, by whose they are. */
  readonly #spreads = new Map<string, () => void>()
  /** Members whose tunnels were told, by slot: one that opens only then (its backend was slow to agree) is told as it opens. */
  readonly #told = new Map<number, Told & { readonly epoch: number }>()
  #allTold: Told | null = null

  constructor(deps: { readonly clock: Clock; readonly random?: () => number }) {
    this.clock = deps.clock
    this.deadlines = new Deadlines(deps.clock)
    this.#random = deps.random ?? Math.random
  }

  get size(): number {
    return this.#open.size
  }

  /** Says Close to both ends of this member's tunnels, one after another over the time; each ends within two seconds of it. */
  closeMember(slot: number, epoch: number, code: CloseCode, reason: string, spreadMs = 0): void {
    this.#told.set(slot, { epoch, code, reason })
    this.#close(`${slot}:${epoch}`, this.#of(slot, epoch), code, reason, spreadMs)
  }

  /** Those of this member's tunnels that were not told yet are not told. */
  keepMember(slot: number, epoch: number): void {
    this.#spreads.get(`${slot}:${epoch}`)?.()
    this.#spreads.delete(`${slot}:${epoch}`)
    if (this.#told.get(slot)?.epoch === epoch) this.#told.delete(slot)
  }

  /** How long this member's oldest tunnel has been open; null: it has none. */
  oldestMs(slot: number, epoch: number): number | null {
    for (const { member, openedAtMs } of this.#open)
      if (member.slot === slot && member.epoch === epoch) return this.clock.monotonic() - openedAtMs
    return null
  }

  cutMember(slot: number, epoch: number): void {
    for (const tunnel of this.#of(slot, epoch)) tunnel.cut()
  }

  closeAll(code: CloseCode, reason: string, spreadMs = 0): void {
    this.#allTold = { code, reason }
    this.#close('all', [...this.#open], code, reason, spreadMs)
  }

  cutAll(): void {
    for (const end of this.#spreads.values()) end()
    this.#spreads.clear()
    for (const tunnel of [...this.#open]) tunnel.cut()
  }

  add(tunnel: Tunnel): void {
    this.#open.add(tunnel)
  }

  /** Its 101 is on its way to the client. */
  opened(tunnel: Tunnel): void {
    const told = this.#allTold ?? this.#toldOf(tunnel.member)
    if (told !== null) tunnel.close(told.code, told.reason)
  }

  remove(tunnel: Tunnel): void {
    this.#open.delete(tunnel)
  }

  #close(whose: string, tunnels: readonly Tunnel[], code: CloseCode, reason: string, spreadMs: number): void {
    this.#spreads.get(whose)?.()
    this.#spreads.delete(whose)
    let left = tunnels.length
    const close = (tunnel: Tunnel) => {
      tunnel.close(code, reason)
      if (--left === 0) this.#spreads.delete(whose)
    }
    const end = spreadOver(tunnels, spreadMs, close, { clock: this.clock, random: this.#random })
    if (left > 0) this.#spreads.set(whose, end)
  }

  /** What was said to this member's tunnels, unless it takes clients again. */
  #toldOf(member: Member): Told | null {
    const told = this.#told.get(member.slot)
    if (told === undefined || told.epoch !== member.epoch) return null
    if (member.eligibility() === 'none') return told
    this.#told.delete(member.slot)
    return null
  }

  #of(slot: number, epoch: number): Tunnel[] {
    return [...this.#open].filter(({ member }) => member.slot === slot && member.epoch === epoch)
  }
}

export interface TunnelOptions {
  readonly member: Member
  readonly client: Socket
  readonly idleMs: number
  readonly tunnels: Tunnels
}

/**
 * The client's end as the engine sees it: written bytes go to the client, read bytes come from it. Until `open` it does not
 * touch the client's socket, so that a failed attempt leaves it free for the next, or for an error answer.
 */
export class Tunnel extends Duplex implements TunnelEnd, Timed {
  timedAt = -1
  readonly member: Member
  deadlineMs = Number.POSITIVE_INFINITY
  /** Monotonic. */
  openedAtMs = 0
  bytesIn = 0
  bytesOut = 0
  /** Who ended it; `nobody`: it fell silent. An engine that destroys it without a word has lost its backend. */
  endedBy: 'nobody' | 'client' | 'backend' | 'proxy' = 'backend'
  readonly #client: Socket
  readonly #idleMs: number
  readonly #tunnels: Tunnels
  readonly #toClient = new CloseInjector()
  readonly #toBackend = new CloseInjector()
  #backend: BackendEnd | null = null
  #backendEnded = false
  #inputEnded = false
  #endNoted = false
  #state: 'new' | 'open' | 'closing' | 'ended' = 'new'

  constructor(options: TunnelOptions) {
    // It ends when the client's socket has closed, not when both halves are through: an early close is a reset to who still sends.
    super({ allowHalfOpen: true, autoDestroy: false })
    this.member = options.member
    this.#client = options.client
    this.#idleMs = options.idleMs
    this.#tunnels = options.tunnels
    this.on('error', () => {})
  }

  /** The backend agreed: sends the 101 head and takes the client's socket over. `early`: what the client sent before. */
  open(head: string, early: readonly Buffer[]): void {
    this.#state = 'open'
    this.openedAtMs = this.#tunnels.clock.monotonic()
    this.member.becomeTunnel()
    this.#tunnels.add(this)
    this.#tunnels.deadlines.add(this)
    this.#touch()
    const client = this.#client
    client.setNoDelay(true)
    client.setKeepAlive(true, 30_000)
    // HTTP/2 has said it in a frame of its own.
    if (head !== '') client.write(head, 'latin1')
    for (const chunk of early) this.#fromClient(chunk)
    readWith(client, chunk => this.#fromClient(chunk))
    client.on('end', () => this.#clientEnded())
    client.on('close', () => {
      this.#noteEnd('client')
      this.destroy()
    })
    if (client.readableEnded) this.#clientEnded()
    // Who reads this stream asks for what the client sends; a joined backend does not.
    if (this.#backend !== null) client.resume()
    this.#tunnels.opened(this)
  }

  close(code: number, reason: string, by: 'nobody' | 'proxy' = 'proxy'): void {
    if (this.#state !== 'open') return
    this.#noteEnd(by)
    this.#state = 'closing'
    this.deadlineMs = this.#tunnels.deadlines.in(closeHandshakeMs)
    const toClient = this.#toClient.tell(closeFrame(code, reason, null))
    if (toClient !== null && this.#client.writable) this.#client.write(toClient)
    const toBackend = this.#toBackend.tell(closeFrame(code, reason, randomBytes(4)))
    if (toBackend !== null && !this.#inputEnded) this.#send(toBackend)
    this.#endIfAgreed()
  }

  cut(): void {
    this.#noteEnd('proxy')
    this.destroy()
  }

  onDeadline(): void {
    if (this.#state === 'open') this.close(1001, 'idle for too long', 'nobody')
    else this.destroy()
  }

  // Past the streams, for an engine that moves bytes itself: each costs a message a quarter of its way.

  join(backend: BackendEnd): void {
    this.#backend = backend
  }

  fromBackend(bytes: Buffer): boolean {
    if (this.#toTheClient(bytes)) return true
    this.#client.once('drain', () => this.#backend?.resume())
    return false
  }

  backendRoom(): void {
    this.#client.resume()
  }

  backendEnded(): void {
    if (this.#state === 'new' || this.#backendEnded) return
    this.#backendEnded = true
    this.#noteEnd('backend')
    this.#client.end()
    this.#client.resume()
    this.#limitWait()
  }

  override _read(): void {
    this.#client.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#toTheClient(chunk)) done()
    else this.#client.once('drain', done)
  }

  override _final(done: () => void): void {
    this.backendEnded()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#state === 'open' || this.#state === 'closing') {
      this.#client.destroy()
      this.#tunnels.deadlines.remove(this)
      this.#tunnels.remove(this)
      this.member.leaveTunnel()
    }
    this.#state = 'ended'
    done(error)
  }

  // A socket's methods that engines call. The idle limit is ours, and keep-alive is set in `open`.
  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  /** What is written goes out first. */
  destroySoon(): void {
    if (this.#state === 'new') this.destroy()
    else this.end()
  }

  /** The bytes are lent. False: it has no room for more now. */
  #toTheClient(chunk: Buffer): boolean {
    this.#touch()
    this.bytesOut += chunk.length
    const bytes = this.#toClient.pass(chunk)
    const room = bytes === null || !this.#client.writable || writeLent(this.#client, bytes)
    this.#lookForClose()
    return room
  }

  #send(bytes: Uint8Array): boolean {
    return this.#backend === null ? this.push(Buffer.from(bytes)) : this.#backend.write(bytes)
  }

  /** The bytes are lent. */
  #fromClient(chunk: Buffer): void {
    this.#touch()
    this.bytesIn += chunk.length
    const bytes = this.#toBackend.pass(chunk)
    // With the backend gone, what still comes is read only so that the client can finish.
    const wanted = !this.writableEnded && !this.#backendEnded && !this.#inputEnded
    if (bytes !== null && wanted && !this.#send(bytes)) this.#client.pause()
    this.#lookForClose()
  }

  #clientEnded(): void {
    this.#noteEnd('client')
    this.#endReadable()
    this.#limitWait()
  }

  #endReadable(): void {
    if (this.#inputEnded) return
    this.#inputEnded = true
    if (this.#backend !== null) this.#backend.end()
    else this.push(null)
  }

  /** What comes after the first is only its consequence. */
  #noteEnd(by: Tunnel['endedBy']): void {
    if (!this.#endNoted) this.endedBy = by
    this.#endNoted = true
  }

  /** One side has ended: the other has a moment to follow. WebSocket knows no half-open connection. */
  #limitWait(): void {
    if (this.#state === 'open') this.#state = 'closing'
    this.deadlineMs = Math.min(this.deadlineMs, this.#tunnels.deadlines.in(closeHandshakeMs))
  }

  #lookForClose(): void {
    if (this.#state === 'closing') return this.#endIfAgreed()
    const { closeSeen: byBackend } = this.#toClient
    const { closeSeen: byClient } = this.#toBackend
    if (!byBackend && !byClient) return
    // Of themselves: who should end the connection now (RFC 6455 §7.1.1) may not, and it would count until it falls silent.
    if (byBackend && byClient) this.#limitWait()
    else this.#noteEnd(byClient ? 'client' : 'backend')
  }

  /** Both ends have said Close after they were told: the sockets may go. */
  #endIfAgreed(): void {
    const clientDone = this.#toClient.told && this.#toBackend.closeSeen
    const backendDone = this.#toBackend.told && this.#toClient.closeSeen
    if (clientDone && !this.#client.writableEnded) this.#client.end()
    if (backendDone) this.#endReadable()
  }

  #touch(): void {
    if (this.#state === 'open') this.deadlineMs = this.#tunnels.deadlines.in(this.#idleMs)
  }
}

/**
 * A client that asked for an upgrade and has no answer yet. Its socket is read, because a client that leaves is noticed in no
 * other way; what it sends early is kept, up to a bound, and reaches the backend only after its 101.
 */
export class WaitingClient {
  readonly socket: Socket
  readonly #early: Buffer[]
  #bytes: number
  readonly #earlyBytesMax: number

  constructor(socket: Socket, head: Buffer, earlyBytesMax: number) {
    this.socket = socket
    this.#early = head.length > 0 ? [head] : []
    this.#bytes = head.length
    this.#earlyBytesMax = earlyBytesMax
    socket.on('error', () => {})
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.resume()
  }

  /** Hands over what came early; from now on the socket is somebody else's to read. */
  release(): readonly Buffer[] {
    this.socket.off('data', this.#onData)
    this.socket.off('end', this.#onEnd)
    this.socket.pause()
    return this.#early
  }

  readonly #onData = (chunk: Buffer) => {
    this.#early.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes >= this.#earlyBytesMax) this.socket.pause()
  }

  readonly #onEnd = () => {
    this.socket.destroy()
  }
}
