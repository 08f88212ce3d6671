/** The end of an event loop: everybody is told within the grace period, and what is open has all of it. */
import t from 'tap'
import type { ShutdownConfig } from '../../../lib/config/config.ts'
import { stopServing } from '../../../lib/proxy/stopping.ts'
import type { Tunnels } from '../../../lib/proxy/tunnel.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const shutdown = (over: Partial<ShutdownConfig> = {}): ShutdownConfig => ({
  graceMs: 30_000,
  tunnels: 'close',
  closeCode: 1012,
  closeSpreadMs: 30_000,
  ...over,
})

function scene(open: number) {
  const clock = new ManualClock(0)
  const told: string[] = []
  const state = { open }
  const tell = (what: string) => told.push(`${what} at ${clock.now()}`)
  const closeAll = (code: number, _reason: string, spreadMs = 0) =>
    tell(spreadMs === 0 ? `close ${code}` : `close ${code} over ${spreadMs}`)
  const loop = {
    clock,
    tunnels: { closeAll } as unknown as Tunnels,
    listeners: { stop: async () => void tell('stop'), closeIdle: () => tell('idle') },
    open: () => state.open,
  }
  return { clock, told, state, loop }
}

t.test('nothing open: at once', async t => {
  const { told, loop } = scene(0)
  t.equal(await stopServing(loop, shutdown()), 0)
  t.strictSame([told[0], told.at(-1)], ['stop at 0', 'idle at 0'])
})

t.test('close: told from the beginning on, all of them two seconds before the end', async t => {
  const { clock, told, state, loop } = scene(3)
  const stopped = stopServing(loop, shutdown())
  await clock.advance(0)
  await clock.advance(29_000)
  t.strictSame(told, ['stop at 0', 'close 1012 over 28000 at 0', 'close 1012 at 28000'])
  state.open = 0
  await clock.advance(100)
  t.equal(await stopped, 0)
  t.match(told.at(-1), /^idle at 29/)
})

t.test('close with a shorter spread: it ends where the longer one ends', async t => {
  const { clock, told, loop } = scene(1)
  const stopped = stopServing(loop, shutdown({ closeSpreadMs: 5000 }))
  await clock.advance(0)
  await clock.advance(31_000)
  t.equal(await stopped, 1, 'what is left is told to the caller, who cuts it')
  t.strictSame(told, ['stop at 0', 'close 1012 over 5000 at 23000', 'close 1012 at 28000', 'idle at 30000'])
})

t.test('keep: told only at the end; cut: not told at all', async t => {
  for (const [tunnels, expected] of [
    ['keep', ['stop at 0', 'close 1012 at 28000', 'idle at 30000']],
    ['cut', ['stop at 0', 'idle at 30000']],
  ] as const) {
    const { clock, told, loop } = scene(1)
    const stopped = stopServing(loop, shutdown({ tunnels }))
    await clock.advance(0)
    await clock.advance(31_000)
    await stopped
    t.strictSame(told, expected, tunnels)
  }
})

t.test('without a grace period there is still the time of a handshake', async t => {
  const { clock, told, loop } = scene(1)
  const stopped = stopServing(loop, shutdown({ graceMs: 0 }))
  await clock.advance(0)
  await clock.advance(2000)
  await stopped
  t.strictSame(told, ['stop at 0', 'close 1012 at 0', 'idle at 2000'])
})

t.test(
  'where others go on serving, connections without a request are waited for, and idle ones end with the time',
  async t => {
    const { clock, told, loop } = scene(0)
    let visitors = 1
    const stopped = stopServing({ ...loop, visited: () => visitors > 0 }, shutdown({ tunnels: 'keep' }))
    await clock.advance(0)
    await clock.advance(1000)
    t.strictSame(told, ['stop at 0'])
    visitors = 0
    await clock.advance(100)
    t.equal(await stopped, 0)
    t.match(told.at(-1), /^idle at 10/)
    const idle = scene(0)
    const end = stopServing({ ...idle.loop, visited: () => true }, shutdown({ tunnels: 'keep' }))
    await idle.clock.advance(0)
    await idle.clock.advance(31_000)
    t.equal(await end, 0)
    t.equal(idle.told.at(-1), 'idle at 30000')
  },
)
