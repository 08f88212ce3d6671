import t from 'tap'
import { machineGauges } from '../../../../lib/proxy/resilience/gauges.ts'
import { Overload, type OverloadState } from '../../../../lib/proxy/resilience/overload.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const MiB = 1024 ** 2

/** A clock whose loop can be held up: timers come late by so much. */
class HeldClock extends ManualClock {
  #heldMs = 0
  override monotonic(): number {
    return super.monotonic() + this.#heldMs
  }
  hold(ms: number): void {
    this.#heldMs += ms
  }
}

function lab({ threads = 2, memory = 0, heap = 0 } = {}) {
  const clock = new HeldClock()
  const gauge = { memory, heap, collections: 0 }
  const changes: OverloadState[] = []
  const overload = new Overload({
    config: { maxMemoryBytes: 200 * MiB, maxEventLoopDelayMs: 200, maxConnections: 101 },
    threads,
    gauges: {
      memoryBytes: () => gauge.memory * 100 * MiB,
      heapShare: () => gauge.heap,
      collect: () => gauge.collections++,
    },
    clock,
    changed: state => changes.push(state),
  })
  const shedOf = (requests: number) => {
    let shed = 0
    for (let i = 0; i < requests; i++) if (overload.shed()) shed++
    return shed
  }
  return { clock, gauge, overload, changes, shedOf }
}

t.test('nothing is refused below the limits', async t => {
  const { clock, overload, changes, shedOf } = lab({ memory: 0.89, heap: 0.89 })
  await clock.advance(5_000)
  t.equal(overload.state.level, 'ok')
  t.equal(shedOf(1_000), 0)
  t.same(changes, [])
})

t.test('a growing share, never all; it shrinks again, and ends below where it began', async t => {
  const { clock, gauge, overload, changes, shedOf } = lab({ memory: 1 })
  const shares: number[] = []
  for (let look = 0; look < 20; look++) {
    await clock.advance(100)
    shares.push(overload.state.share)
  }
  t.match(changes, [{ level: 'shed_new', cause: 'memory', pressure: 1 }])
  t.ok(shares[0]! < 0.1, 'a little first')
  for (let i = 1; i < shares.length; i++) t.ok(shares[i]! >= shares[i - 1]!)
  t.equal(shares.at(-1), 0.95)
  t.ok(Math.abs(shedOf(1_000) - 950) <= 1)
  gauge.memory = 0.87
  await clock.advance(100)
  t.equal(overload.state.level, 'shed_new', 'just below where it began is not well yet')
  gauge.memory = 0.8
  const before = overload.state.share
  await clock.advance(100)
  t.ok(overload.state.share < before)
  await clock.advance(10_000)
  t.same([overload.state.level, overload.state.share], ['ok', 0])
  t.equal(changes.length, 2, 'told once each way')
  t.equal(shedOf(1_000), 0)
})

t.test('the refused are spread evenly', async t => {
  const { clock, overload } = lab({ heap: 1 })
  await clock.advance(400)
  const share = overload.state.share
  t.ok(share > 0.2 && share < 0.4, String(share))
  const row = Array.from({ length: 200 }, () => overload.shed())
  const longest = Math.max(
    ...row
      .join(' ')
      .replaceAll('true', '|')
      .split('|')
      .map(gap => gap.trim().split(' ').length),
  )
  t.ok(longest <= Math.ceil(1 / share), `${longest} in a row were served`)
  t.equal(overload.state.cause, 'heap')
})

t.test('a late loop counts when it stays late; one pause does not', async t => {
  const { clock, overload, changes } = lab()
  clock.hold(600)
  await clock.advance(100)
  t.equal(overload.state.level, 'ok', 'one long collection')
  await clock.advance(3_000)
  t.ok(overload.state.pressure < 0.01)
  for (let i = 0; i < 20; i++) {
    clock.hold(250)
    await clock.advance(100)
  }
  t.match(changes, [{ level: 'shed_new', cause: 'event_loop' }])
  await clock.advance(10_000)
  t.equal(overload.state.level, 'ok')
})

t.test('connections: each loop has its part, the one above it is refused', async t => {
  const { overload, clock } = lab({ threads: 2 })
  const accepted = (of: Overload, count: number) => Array.from({ length: count }, () => of.connected())
  t.notOk(accepted(overload, 51).includes(false))
  t.same(accepted(overload, 2), [false, false])
  overload.disconnected()
  t.same(accepted(overload, 2), [true, false])
  t.notOk(accepted(lab({ threads: 0 }).overload, 101).includes(false))
  overload.configure({ maxMemoryBytes: 1, maxEventLoopDelayMs: 1, maxConnections: 4 }, 2)
  for (let i = 0; i < 49; i++) overload.disconnected()
  t.notOk(overload.connected(), 'after a reload: those that are there stay')
  overload.disconnected()
  t.ok(overload.connected())
  overload.configure({ maxMemoryBytes: 1, maxEventLoopDelayMs: 1, maxConnections: 4 }, 1)
  t.strictSame(accepted(overload, 3), [true, true, false], 'a loop alone has all of it')
  t.equal(overload.connections, 4)
  overload.close()
  t.equal(clock.pending, 0)
})

t.test(
  'memory that is short is had collected, at once and then every five seconds; a late loop is not',
  async t => {
    const { clock, gauge, overload } = lab({ memory: 1 })
    await clock.advance(100)
    t.equal(gauge.collections, 1)
    await clock.advance(4_800)
    t.equal(gauge.collections, 1)
    await clock.advance(300)
    t.equal(gauge.collections, 2)
    gauge.memory = 0.5
    await clock.advance(20_000)
    t.equal(overload.state.level, 'ok')
    t.equal(gauge.collections, 2, 'it is no longer short')

    const late = lab()
    for (let look = 0; look < 60; look++) {
      late.clock.hold(500)
      await late.clock.advance(100)
    }
    t.match(late.overload.state, { level: 'shed_new', cause: 'event_loop' })
    t.equal(late.gauge.collections, 0)
  },
)

t.test('a collection gives back what nobody uses', async t => {
  let kept: Buffer | null = Buffer.alloc(64 * MiB, 1)
  const before = machineGauges.memoryBytes()
  t.equal(kept.length, 64 * MiB)
  kept = null
  machineGauges.collect()
  t.ok(machineGauges.memoryBytes() < before - 60 * MiB)
})

t.test('what the machine says is plausible', async t => {
  const before = machineGauges.memoryBytes()
  t.ok(before > MiB)
  const kept = Buffer.alloc(64 * MiB, 1)
  t.ok(machineGauges.memoryBytes() > before + 60 * MiB, 'buffers count')
  t.ok(machineGauges.heapShare() > 0 && machineGauges.heapShare() < 1)
  t.equal(kept.length, 64 * MiB)
})
