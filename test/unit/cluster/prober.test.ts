import t from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import type { Verdict } from '../../../lib/cluster/health.ts'
import { probeOnce, startProbing } from '../../../lib/cluster/prober.ts'
import { healthConfig } from '../../support/health-config.ts'
import { tcp } from '../../support/health-servers.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/wait.ts'

const health = healthConfig({ intervalMs: 1000, timeoutMs: 500, healthyThreshold: 1, unhealthyThreshold: 1 })
const target = () => ({ host: 'h', port: 1 })
const passed: Verdict = { ok: true, reason: 'answered 200' }

t.test('one after another, an interval apart give or take a tenth', async t => {
  const clock = new ManualClock(0)
  const starts: number[] = []
  let chance = 0
  const stop = startProbing(
    {
      clock,
      random: () => chance,
      probe: async () => {
        starts.push(clock.now())
        return passed
      },
    },
    { target, health, firstDelayMs: 50, gate: () => 0, report: () => undefined },
  )
  await clock.advance(50)
  chance = 0.5
  await clock.advance(900)
  await clock.advance(1000)
  t.strictSame(starts, [50, 950, 1950])
  stop()
  await clock.advance(5000)
  t.equal(starts.length, 3)
  t.equal(clock.pending, 0)
})

t.test('never two at once: a check longer than the interval holds the next one up', async t => {
  const clock = new ManualClock(0)
  let running = 0
  let most = 0
  const probe = async () => {
    most = Math.max(most, ++running)
    await clock.sleep(2500)
    running--
    return passed
  }
  let reports = 0
  const stop = startProbing(
    { clock, random: () => 0.5, probe },
    {
      target,
      health,
      firstDelayMs: 0,
      gate: () => 0,
      report: () => reports++,
    },
  )
  await clock.advance(10_100)
  stop()
  t.equal(most, 1)
  t.equal(reports, 4)
})

t.test('silence that met a hold does not count; an answer or a refusal always does', async t => {
  const clock = new ManualClock(0)
  let gate: number | null = 0
  let verdict: Verdict = { ok: false, reason: 'no answer within 100ms', silent: true }
  const reports: string[] = []
  const probe = async () => {
    await clock.sleep(100)
    return verdict
  }
  const report = ({ reason }: Verdict) => reports.push(reason)
  const stop = startProbing(
    { clock, random: () => 0.5, probe },
    { target, health, firstDelayMs: 0, gate: () => gate, report },
  )
  await clock.advance(50)
  gate = null
  await clock.advance(20)
  gate = 1
  await clock.advance(100)
  t.strictSame(reports, [], 'held and released while it was under way')
  gate = null
  await clock.advance(1000)
  t.strictSame(reports, [], 'silence while held')
  verdict = { ok: false, reason: 'connect ECONNREFUSED' }
  await clock.advance(1000)
  t.strictSame(reports, ['connect ECONNREFUSED'], 'a refusal while held')
  verdict = passed
  await clock.advance(1000)
  t.equal(reports.at(-1), 'answered 200', 'an answer while held')
  gate = 2
  verdict = { ok: false, reason: 'no answer within 100ms', silent: true }
  await clock.advance(1000)
  t.equal(reports.at(-1), 'no answer within 100ms', 'silence when nobody holds')
  stop()
})

t.test('stopped in the middle of a real check it lets go of the connection', async t => {
  const closed: boolean[] = []
  let open = 0
  const server = await tcp(t, socket => {
    open++
    socket.resume()
    socket.on('close', () => closed.push(true))
  })
  let reports = 0
  const stop = startProbing(
    { clock: systemClock, random: Math.random, probe: probeOnce },
    {
      target: () => server,
      health: { ...health, timeoutMs: 10_000 },
      firstDelayMs: 0,
      gate: () => 0,
      report: () => reports++,
    },
  )
  await until('connected', () => open === 1)
  stop()
  await until('let go', () => closed.length === 1)
  t.equal(reports, 0)
})

t.test('how long a check took is told, unless it met a hold', async t => {
  const clock = new ManualClock(0)
  let gate: number | null = 0
  const probe = async () => {
    await clock.sleep(100)
    return passed
  }
  const reports: Verdict[] = []
  const report = (verdict: Verdict) => reports.push(verdict)
  const stop = startProbing(
    { clock, random: () => 0.5, probe },
    { target, health, firstDelayMs: 0, gate: () => gate, report },
  )
  await clock.advance(500)
  gate = null
  await clock.advance(1000)
  t.strictSame(reports, [{ ...passed, tookMs: 100 }, passed])
  stop()
})

t.test('what it takes to ask is got anew for each check, and may fail', async t => {
  const clock = new ManualClock(0)
  const ports: number[] = []
  let port = 0
  const reasons: string[] = []
  const stop = startProbing(
    {
      clock,
      random: () => 0.5,
      probe: async target => {
        ports.push(target.port)
        return passed
      },
    },
    {
      target: () => {
        if (++port === 2) throw new Error('no such file')
        return { host: 'h', port }
      },
      health,
      firstDelayMs: 0,
      gate: () => 0,
      report: ({ reason }) => reasons.push(reason),
    },
  )
  await clock.advance(2500)
  stop()
  t.strictSame(ports, [1, 3])
  t.strictSame(reasons, ['answered 200', 'cannot ask: no such file', 'answered 200'])
})
