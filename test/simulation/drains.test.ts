/**
 * Drains in many lives: clients that come and go by chance, under every mixture of settings, in virtual time. Whatever
 * happens: nobody is told or cut before the door is shut, the door is not shut early, nothing is cut before its time, and there is
 * an end. `SEED=n` replays one alone.
 */
import t from 'tap'
import { type DrainOutcome, drainOut, graceOf, type Leaving } from '../../lib/cluster/drain.ts'
import type { DrainConfig } from '../../lib/config/config.ts'
import { ManualClock } from '../support/manual-clock.ts'

const only = process.env.SEED
const seeds = only
  ? [Number(only)]
  : Array.from({ length: Number(process.env.SEEDS ?? 150) }, (_, n) => n + 1)
const stepMs = 200
const lingerMs = 10_000
const cutMs = 2_000
/** A drain looks at least this often. */
const lookMs = 100

interface Tunnel {
  /** When it ends by itself. */
  readonly endsAt: number
  /** How long it takes to answer a Close; `Infinity`: it never does. */
  readonly answersIn: number
  toldAt: number | null
}

/** One backend that leaves and its clients, bound to it all. */
class Life {
  readonly clock = new ManualClock(0)
  readonly chance: () => number
  readonly policy: DrainConfig
  readonly forGood: boolean
  readonly faults: string[] = []
  /** Ends of exchanges under way. */
  exchanges: { endsAt: number; beganAt: number }[] = []
  tunnels: Tunnel[] = []
  sessions = 0
  sealedAt: number | null = null
  #spread: { at: number; overMs: number; order: Tunnel[] } | null = null

  constructor(seed: number) {
    this.chance = mulberry(seed)
    const one = <T>(...of: readonly T[]) => of[Math.floor(this.chance() * of.length)]!
    const gracePeriodMs = one(0, 1000, 10_000, 30_000)
    this.policy = {
      gracePeriodMs,
      waitForConnections: this.chance() < 0.85,
      sessions: one('keep', 'repin', 'cut'),
      tunnels: one('keep', 'close', 'cut'),
      closeCode: 1001,
      closeSpreadMs: one(0, 500, 5000, 30_000),
    }
    this.forGood = this.chance() < 0.5
    const some = () => Math.floor(this.chance() * 6)
    for (let i = some(); i > 0; i--) this.#request()
    for (let i = some(); i > 0; i--) this.#upgrade()
    this.sessions = some()
  }

  get leaving(): Leaving {
    return {
      name: 'a',
      forGood: this.forGood,
      exchanges: () => this.exchanges.length,
      tunnels: () => this.tunnels.length,
      sessions: () => (this.policy.sessions === 'keep' && this.sealedAt === null ? this.sessions : 0),
      heard: async () => true,
      reopened: () => false,
      seal: () => {
        this.sealedAt ??= this.clock.now()
      },
      closeTunnels: overMs => this.#close(overMs),
      keepTunnels: () => this.faults.push('took closes back'),
      cut: what => this.#cut(what),
    }
  }

  /** What the world does in a step: who is through goes, who is told answers, who is bound comes. */
  step(): void {
    const now = this.clock.now()
    this.#tell(now)
    this.exchanges = this.exchanges.filter(({ endsAt }) => endsAt > now)
    this.tunnels = this.tunnels.filter(
      ({ endsAt, toldAt, answersIn }) =>
        endsAt > now && (toldAt === null || toldAt + Math.min(2000, answersIn) > now),
    )
    if (this.chance() < 0.1) this.sessions = Math.max(0, this.sessions - 1)
    if (this.sealedAt !== null) return
    if (this.chance() < 0.2) this.#request()
    if (this.chance() < 0.05) this.#upgrade()
  }

  #request(): void {
    const beganAt = this.clock.now()
    const longest = this.chance() < 0.1 ? 100_000 : 1000
    this.exchanges.push({ beganAt, endsAt: beganAt + this.chance() * longest })
  }

  #upgrade(): void {
    const answersIn = this.chance() < 0.2 ? Number.POSITIVE_INFINITY : this.chance() * 300
    this.tunnels.push({ endsAt: this.clock.now() + this.chance() * 60_000, answersIn, toldAt: null })
  }

  #close(overMs: number): void {
    if (this.sealedAt === null) this.faults.push('told before the door was shut')
    if (this.policy.tunnels === 'cut') this.faults.push('told where they are to be cut')
    if (this.policy.tunnels === 'keep' && !this.forGood) this.faults.push('told where they are kept')
    this.#spread = { at: this.clock.now(), overMs, order: [...this.tunnels] }
    this.#tell(this.clock.now())
  }

  #tell(now: number): void {
    if (this.#spread === null) return
    const { at, overMs, order } = this.#spread
    const told = overMs === 0 ? order.length : Math.floor(((now - at) / overMs) * order.length)
    for (const tunnel of order.slice(0, told)) tunnel.toldAt ??= now
  }

  #cut(what: 'tunnels' | 'exchanges' | 'all'): void {
    const now = this.clock.now()
    const deadline = graceOf(this.policy)
    if (this.sealedAt === null) this.faults.push('cut before the door was shut')
    if (now < deadline) this.faults.push('cut before the deadline')
    if (what !== 'tunnels' && now < deadline + lingerMs)
      this.faults.push('exchanges cut before their last time')
    if (what !== 'exchanges' && this.policy.tunnels === 'keep' && !this.forGood)
      this.faults.push('kept tunnels cut')
    if (what === 'tunnels' && this.policy.tunnels !== 'cut')
      this.faults.push('tunnels cut that were to be told')
    if (what !== 'tunnels') this.exchanges = []
    if (what !== 'exchanges') this.tunnels = []
  }
}

t.test('every life keeps the rules', async t => {
  for (const seed of seeds) {
    const life = new Life(seed)
    const { policy, forGood } = life
    let outcome: DrainOutcome | null = null
    const drained = drainOut(life.leaving, policy, life.clock).then(ended => {
      outcome = ended
      const left = life.exchanges.length + life.tunnels.length
      if (left > 0) life.faults.push(`ended with ${left} left`)
      if (!ended.deadlineReached && policy.sessions === 'keep' && life.sealedAt === null && life.sessions > 0)
        life.faults.push('ended before the sessions that it keeps')
    })
    const deadline = graceOf(policy)
    const keeps = policy.tunnels === 'keep' && !forGood
    await life.clock.advance(0)
    for (let ms = 0; ms < 200_000 && outcome === null; ms += stepMs) {
      await life.clock.advance(stepMs)
      life.step()
    }
    await life.clock.advance(lookMs)
    const text = `seed ${seed}: ${JSON.stringify({ ...policy, forGood })}`
    if (outcome === null) life.faults.push('it never ended')
    else {
      await drained
      const { waitedMs, deadlineReached } = outcome as DrainOutcome
      if (!keeps && waitedMs > deadline + lingerMs + cutMs + lookMs) life.faults.push(`late: ${waitedMs} ms`)
      if (deadlineReached !== waitedMs >= deadline && deadline > 0)
        life.faults.push(`deadline: ${waitedMs} ms`)
      const spreadMs = policy.tunnels === 'close' ? Math.min(policy.closeSpreadMs, deadline) : 0
      const shut = life.sealedAt
      if (policy.sessions === 'cut' && shut !== 0) life.faults.push(`not shut at once but at ${shut}`)
      if (deadlineReached && shut === null) life.faults.push('never shut')
      if (
        policy.sessions !== 'cut' &&
        shut !== null &&
        shut < deadline - spreadMs &&
        shut < waitedMs - lookMs
      )
        if (!forGood)
          // For good: shut as soon as nothing was left, and somebody slipped in.
          life.faults.push(`shut early, at ${shut}`)
    }
    t.strictSame(life.faults, [], text)
    if (life.faults.length > 0) break
  }
})

function mulberry(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296
  }
}
