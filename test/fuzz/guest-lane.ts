/**
 * A hostile guest: whoever broke into a VM answers for its agent. Whatever it says, and however long, deep or slowly, each call ends by
 * its deadline with an answer of the known form or an error in words that fit a line, and its connection is let go.
 */
import { createServer, type Socket } from 'node:net'
import { systemClock } from '../../lib/clock.ts'
import { TidegateError } from '../../lib/errors.ts'
import { GuestClient } from '../../lib/guest/client.ts'
import { closeServer, listenOn, until } from '../support/traffic.ts'
import { mangled, noise, sayAndEnd } from './mangle.ts'
import type { Random } from './random.ts'
import type { Lane } from './run.ts'

const call = { timeoutMs: 300 }
const slackMs = 5_000
const endlessBytesMax = 2 ** 21
const errorCharsMax = 700
const answerCharsMax = 20_000
const identity = {
  ...{ instanceId: 'web-1', incarnation: 'abc', cluster: 'web', reason: 'cloned' as const },
  ...{ entropy: Buffer.alloc(32).toString('base64'), wallClockMs: 1 },
}
const limits = { cpus: 1, memoryBytes: 2 ** 28, diskBytes: 0 }

const calls = {
  ping: {
    right: {
      ...{ protocol: 1, pid: 7, hooks: { hand_over: true, take_back: true, identified: true } },
      identity: { instance_id: 'web-1', incarnation: 'abc' },
    },
    ask: (client: GuestClient): Promise<unknown> => client.ping(call),
  },
  identify: {
    right: { instance_id: 'web-1', incarnation: 'abc', application: 'acknowledged', warnings: ['w'] },
    ask: (client: GuestClient): Promise<unknown> => client.identify(identity, call),
  },
  resize: {
    right: { cpus: 1, memory_bytes: 2 ** 28, warnings: [] },
    ask: (client: GuestClient): Promise<unknown> => client.resize(1, 0, call),
  },
  limits: {
    right: { application: 'no_hook', warnings: ['a', 'b'] },
    ask: (client: GuestClient): Promise<unknown> => client.limits(limits, call),
  },
  hand_over: {
    right: [['state'], { at: 1 }],
    ask: (client: GuestClient): Promise<unknown> => client.handOver(async () => {}, call),
  },
} as const

export async function guestLane(_random: Random): Promise<Lane> {
  const sockets = new Set<Socket>()
  let answer: (socket: Socket) => void = () => {}
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.resume()
    answer(socket)
  })
  const client = new GuestClient(
    { host: '127.0.0.1', port: await listenOn(server) },
    'a'.repeat(32),
    systemClock,
  )
  const names = Object.keys(calls) as (keyof typeof calls)[]
  return {
    step: async random => {
      const name = random.pick(names)
      const { right, ask } = calls[name]
      const bytes = said(random, right)
      const endless = random.chance(0.1)
      answer = socket => void sayAndEnd(random, socket, bytes, endless ? endlessBytesMax : 0)
      const wrong: string[] = []
      const deadline = watchDeadline()
      try {
        const heard = JSON.stringify(await ask(client))
        if (heard.length > answerCharsMax) wrong.push(`an answer of ${heard.length} characters is passed on`)
      } catch (error) {
        if (!(error instanceof TidegateError)) wrong.push(`not an error in words: ${String(error)}`)
        else if (!isOneLine(error.message)) wrong.push(`no line for a log: ${JSON.stringify(error.message)}`)
      }
      if (deadline.passed()) wrong.push('past its deadline')
      await until(() => sockets.size === 0, `${name}: the connection to be let go`)
      return wrong.map(what => ({
        what: `${name}: ${what}`,
        text: `${bytes.toString('latin1').slice(0, 2_000)}`,
      }))
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await closeServer(server)
    },
  }
}

/** By a timer beside the call's own: where this process stands still both come late, and in their order. */
function watchDeadline() {
  let late = false
  const stop = systemClock.after(call.timeoutMs + slackMs, () => {
    // What the call's own deadline set off may take a turn.
    setImmediate(() => setImmediate(() => (late = true)))
  })
  return {
    passed: () => {
      stop()
      return late
    },
  }
}

const isOneLine = (text: string) => text.length <= errorCharsMax && !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text)

/** A right answer with other values in it, one that is too deep or too long, a refusal, or no HTTP at all. */
function said(random: Random, right: unknown): Buffer {
  const kind = random.below(6)
  if (kind === 0) return noise(random, 2_000)
  if (kind === 1) return mangled(random, http(200, JSON.stringify(right)))
  if (kind === 2) return http(200, JSON.stringify(spoilt(random, right, 0)))
  if (kind === 3) return http(200, deep(random, right))
  if (kind === 4) return http(random.pick([400, 409, 500, 999]), JSON.stringify(refusal(random)))
  return http(
    200,
    JSON.stringify(right),
    random.pick(['content-length: 1', 'content-length: 99999', 'transfer-encoding: chunked']),
  )
}

function http(status: number, body: string, framing = `content-length: ${Buffer.byteLength(body)}`): Buffer {
  const state = 'tidegate-state: json\r\ntidegate-paused-ms: 1'
  return Buffer.from(
    `HTTP/1.1 ${status} X\r\ncontent-type: application/json\r\n${state}\r\n${framing}\r\n\r\n${body}`,
  )
}

const evil = (random: Random): unknown =>
  random.pick<unknown>([
    ...[null, true, -1, 1.5, 1e308, '', '\u001b[2J\r\nfatal', '\ud800', 'x'.repeat(60_000), [], {}],
    ...[{ __proto__: null, constructor: 1 }, Array.from({ length: 9_000 }, () => 'w'), [{ toString: 1 }]],
  ])

/** With some of its values replaced. */
function spoilt(random: Random, value: unknown, depth: number): unknown {
  if (random.chance(depth === 0 ? 0.05 : 0.3)) return evil(random)
  if (Array.isArray(value)) return value.map(item => spoilt(random, item, depth + 1))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, item]) => [key, spoilt(random, item, depth + 1)])
  return Object.fromEntries(random.chance(0.1) ? [...entries, ['__proto__', { polluted: true }]] : entries)
}

/** Nested as deep as a body has room for, in the place of one of its values. */
function deep(random: Random, right: unknown): string {
  const levels = random.pick([100, 5_000, 30_000])
  const nested = random.chance(0.5)
    ? '['.repeat(levels) + ']'.repeat(levels)
    : `${'{"a":'.repeat(levels / 3)}1${'}'.repeat(levels / 3)}`
  const text = JSON.stringify(right)
  return random.chance(0.3)
    ? nested
    : text.replace(random.pick(['"w"', '["w"]', '[]', '1', 'true', '"abc"']), nested)
}

const refusal = (random: Random): unknown =>
  spoilt(
    random,
    { error: { code: random.pick(['identity_refused', 'hook_failed', 'nonsense']), message: evil(random) } },
    1,
  )
