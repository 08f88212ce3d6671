/**
 * The engine for backends that speak HTTP/2, on `node:http2`: few connections, many streams on each; trailers and back-pressure both
 * ways, so that gRPC passes. Without TLS the backend must know that it is HTTP/2 (prior knowledge); with it, it is agreed on.
 */
import type { Member } from '../../../cluster/member.ts'
import { Deadlines } from '../../deadlines.ts'
import type { Forward, ForwardDeps } from '../forward.ts'
import { H2Call } from './call.ts'
import { MemberSessions } from './sessions.ts'
import { H2Upgrade } from './upgrade.ts'

export function createH2(deps: ForwardDeps): Forward {
  const deadlines = new Deadlines(deps.clock)
  const members = new Map<number, MemberSessions>()

  const sessionsOf = (member: Member): MemberSessions => {
    const key = tenancy(member)
    let sessions = members.get(key)
    if (sessions === undefined) {
      sessions = new MemberSessions(member, deadlines, deps.tls)
      members.set(key, sessions)
    }
    return sessions
  }

  const started = <T extends H2Call>(call: T): T => {
    call.start()
    return call
  }

  return {
    name: 'h2',
    send: (request, events) => started(new H2Call(request, events, deadlines, sessionsOf(request.member))),
    upgrade: (request, client, events) =>
      started(new H2Upgrade(request, events, deadlines, sessionsOf(request.member), client)),
    forget: member => {
      members.get(tenancy(member))?.forget()
      members.delete(tenancy(member))
    },
    close: () => {
      for (const sessions of members.values()) sessions.close()
      members.clear()
    },
  }
}

/** Slots are below 2^14 and epochs below 2^24: one exact number. */
const tenancy = (member: Member) => member.slot * 2 ** 24 + member.epoch
