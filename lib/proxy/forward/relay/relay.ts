/**
 * The engine of our own, for HTTP/1.1: bytes from socket to socket, heads read strictly and rewritten as one write, connections to
 * each member kept and used again. It is the hot path: nothing here makes an object for a header or a stream for a body.
 */
import { connect } from 'node:net'
import type { Member } from '../../../cluster/member.ts'
import { Deadlines } from '../../deadlines.ts'
import type { TlsHolder } from '../../tls/holder.ts'
import type { Forward, ForwardDeps, ForwardEvents, ForwardRequest, TunnelEnd } from '../forward.ts'
import { BackendConnection } from './backend-connection.ts'
import { RelayCall } from './call.ts'
import { MemberPool } from './pool.ts'
import { ReadBuffer } from './read-buffer.ts'

export function createRelay(deps: ForwardDeps): Forward {
  const deadlines = new Deadlines(deps.clock)
  const pools = new Map<number, MemberPool>()
  /** A memo by slot: the pool of whoever was asked for last. */
  const newest: ({ readonly key: number; readonly pool: MemberPool } | undefined)[] = []

  const poolOf = (member: Member): MemberPool => {
    const key = tenancy(member)
    const known = newest[member.slot]
    if (known?.key === key) return known.pool
    let pool = pools.get(key)
    if (pool === undefined) {
      pool = new MemberPool(own => open(member, own, deadlines, deps.tls), deadlines)
      pools.set(key, pool)
    }
    newest[member.slot] = { key, pool }
    return pool
  }

  const begin = (request: ForwardRequest, events: ForwardEvents, tunnel: TunnelEnd | null) => {
    const call = new RelayCall(request, events, deadlines, tunnel)
    poolOf(request.member).serve(call)
    return call
  }

  return {
    name: 'relay',
    send: (request, events) => begin(request, events, null),
    upgrade: (request, client, events) => begin(request, events, client),
    forget: member => {
      pools.get(tenancy(member))?.forget()
      pools.delete(tenancy(member))
      newest[member.slot] = undefined
    },
    close: () => {
      for (const pool of pools.values()) pool.close()
      pools.clear()
      newest.length = 0
    },
  }
}

/**
 * All backend sockets of an event loop are read into one buffer: what is read is used up before the next read. A buffer for each read
 * would be 64 KiB to allocate and to cut down, for an answer of some hundred bytes.
 */
function open(
  member: Member,
  pool: MemberPool,
  deadlines: Deadlines,
  tls: TlsHolder | undefined,
): BackendConnection {
  let connection: BackendConnection | null = null
  const callback = (length: number) => connection!.read(reads.first(length))
  const onread = { buffer: reads.buffer, callback }
  const socket =
    member.tls === null
      ? connect({ host: member.host, port: member.port, noDelay: true, onread })
      : tls!.upstream(member.tls).connect(member, 'http/1.1', { onread })
  connection = new BackendConnection(socket, pool, deadlines, member.tls !== null)
  return connection
}

const reads = new ReadBuffer()

/** Slots are below 2^14 and epochs below 2^24: one exact number. */
const tenancy = (member: Member) => member.slot * 2 ** 24 + member.epoch
