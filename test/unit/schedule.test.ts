import { mock } from 'node:test'
import t from 'tap'
import { silentLog } from '../../lib/log.ts'
import { startSchedule } from '../../lib/schedule.ts'

const startMs = Date.UTC(2026, 0, 1, 12, 0, 1)
const second = 1_000

t.beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'], now: startMs }))
t.afterEach(() => mock.timers.reset())

/** What node-cron awaits before it runs a job. */
const turn = () => new Promise(resolve => setImmediate(resolve))

interface Clockwork {
  readonly runs: () => number
  /** Second after second. */
  readonly pass: (seconds: number) => Promise<void>
  /** Nothing of the process runs meanwhile. */
  readonly standStill: (seconds: number) => Promise<void>
}

async function counted(work: (clockwork: Clockwork) => Promise<void>) {
  let runs = 0
  const run = async () => {
    runs++
  }
  const stop = startSchedule([{ name: 'look', cron: '*/10 * * * * *', run }], silentLog)
  const pass = async (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      mock.timers.tick(second)
      await turn()
    }
  }
  const standStill = (seconds: number) => {
    mock.timers.setTime(Date.now() + (seconds - 1) * second)
    return pass(1)
  }
  await work({ runs: () => runs, pass, standStill })
  await stop()
}

t.test('a job runs at its times', t =>
  counted(async ({ pass, runs }) => {
    await pass(8)
    t.equal(runs(), 0)
    await pass(1)
    t.equal(runs(), 1)
    await pass(30)
    t.equal(runs(), 4)
  }),
)

t.test('a process that could not run when the time came runs the job when it can', t =>
  counted(async ({ pass, standStill, runs }) => {
    await standStill(14)
    t.equal(runs(), 1, 'five seconds late, and not left out')
    await pass(5)
    t.equal(runs(), 2, 'the next is in time')
  }),
)

t.test('of many times that were missed it makes one', t =>
  counted(async ({ pass, standStill, runs }) => {
    await standStill(3_607)
    t.equal(runs(), 1)
    await pass(2)
    t.equal(runs(), 2)
  }),
)
