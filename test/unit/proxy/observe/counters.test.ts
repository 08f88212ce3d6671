/** Each thread counts in its own column; what is read is the sum. */
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { CounterRows } from '../../../../lib/proxy/observe/counter-rows.ts'
import { Counters, rowsMax } from '../../../../lib/proxy/observe/counters.ts'

t.test('what is over is counted by status, ending, error and time', async t => {
  const counters = Counters.create(2)
  const [one, two] = [counters.column(0), counters.column(1)]
  one.over(3, 200, '--', null, 4)
  two.over(3, 204, '--', null, 1_000_000)
  two.over(3, 0, 'CQ', 'client_closed', 0)
  two.over(3, 999, '--', null, 0.2)
  one.over(4, 503, 'PQ', 'queue_timeout', 30)
  one.head(3, 3)
  one.add(3, 'bytesOut', 2 ** 40)
  two.add(3, 'bytesOut', 1)
  const row = counters.row(3)
  t.strictSame(row.statuses, [1, 0, 2, 0, 0, 1], 'a status of no class is in the last')
  t.strictSame([row.endings['--'], row.endings.CQ, row.endings.PQ], [3, 1, 0])
  t.strictSame([row.errors.client_closed, row.errors.queue_timeout], [1, 0])
  t.equal(row.counters.bytesOut, 2 ** 40 + 1)
  t.strictSame([row.duration.buckets[0], row.duration.buckets[3], row.duration.buckets[16]], [2, 1, 1])
  t.equal(row.duration.sumMs, 1_000_004.2)
  t.equal(
    row.head.buckets.reduce((sum, n) => sum + n),
    1,
  )
  t.equal(counters.row(4).errors.queue_timeout, 1)
  t.equal(
    counters.row(5).statuses.reduce((sum, n) => sum + n),
    0,
    'neighbours are not touched',
  )
})

t.test('the last row of the last column is inside', async t => {
  const counters = Counters.create(2)
  const column = counters.column(1)
  column.add(rowsMax - 1, 'tunnelsOpened', 5)
  column.head(rowsMax - 1, 99_999)
  t.equal(counters.row(rowsMax - 1).counters.tunnelsOpened, 5)
  t.equal(counters.row(rowsMax - 1).head.buckets.at(-1), 1)
})

t.test('a thread that died has no connections, no gauges and no baton', async t => {
  const counters = Counters.create(2)
  const column = counters.column(1)
  column.fact('connectionsAccepted', 5)
  column.fact('connectionsClosed', 2)
  column.gauge('heapBytes', 7)
  t.ok(counters.logBaton(1).take())
  t.notOk(counters.logBaton(0).take(), 'one at a time')
  counters.logBaton(0).give()
  t.notOk(counters.logBaton(0).take(), 'only who has it can give it')
  counters.wipeThread(1)
  const facts = counters.thread(1)
  t.strictSame([facts.connectionsAccepted, facts.connectionsClosed, facts.heapBytes], [5, 5, 0])
  t.ok(counters.logBaton(0).take())
})

t.test('what another thread counts is seen here, whole', async t => {
  const counters = Counters.create(2)
  const source = `
    const { workerData } = require('node:worker_threads')
    import(workerData.module).then(({ Counters }) => {
      const column = new Counters(workerData.buffer).column(1)
      for (let i = 0; i < 1e6; i++) column.add(1, 'bytesIn', 4294967296 + 1)
    })`
  const module = new URL('../../../../lib/proxy/observe/counters.ts', import.meta.url).href
  const worker = new Worker(source, { eval: true, workerData: { module, buffer: counters.buffer } })
  const ended = new Promise(resolve => worker.once('exit', resolve))
  let running = true
  void ended.then(() => {
    running = false
  })
  let seen = 0
  while (running) {
    for (let i = 0; i < 1_000; i++) {
      const now = counters.row(1).counters.bytesIn
      // Both halves of the number grow together: a torn reading would not divide.
      if (now < seen || now % 4_294_967_297 !== 0) return void t.fail(`${seen} → ${now}`)
      seen = now
    }
    await new Promise(resolve => setImmediate(resolve))
  }
  t.equal(counters.row(1).counters.bytesIn, 1e6 * 4_294_967_297)
})

t.test('a cluster keeps its row, whoever comes and goes', async t => {
  const cleared: number[] = []
  const rows = new CounterRows(row => cleared.push(row))
  t.strictSame(
    [...rows.assign(['a', 'b'])],
    [
      ['a', 1],
      ['b', 2],
    ],
  )
  t.strictSame(
    [...rows.assign(['b', 'c'])],
    [
      ['b', 2],
      ['c', 3],
    ],
  )
  t.strictSame([...rows.current().keys()], ['b', 'c'])
  t.strictSame(
    [...rows.assign(['c', 'a'])],
    [
      ['c', 3],
      ['a', 1],
    ],
    'who comes back finds its counts',
  )
  t.strictSame(cleared, [])
})

t.test('rows are given again when there are no more, cleared, and never taken from who is there', async t => {
  const cleared: number[] = []
  const rows = new CounterRows(row => cleared.push(row))
  const ids = Array.from({ length: rowsMax - 1 }, (_, i) => `c${i}`)
  rows.assign(ids)
  t.equal(rows.assign([...ids, 'late']).get('late'), 0, 'nothing left: counted with nobody')
  const after = rows.assign([...ids.slice(2), 'late'])
  t.equal(after.get('late'), 1, 'the row of who left first')
  t.strictSame(cleared, [1])
  t.equal(new Set(after.values()).size, after.size)
})
