/** `scaling`, `clone_from` and `warm_requests`: defaults, and what contradicts itself. */
import t from 'tap'
import { cronFault } from '../../../lib/config/cron.ts'
import { parseConfig } from '../../../lib/config/parse.ts'

const parse = (scaling: string, more = '') =>
  parseConfig(`clusters: [{ id: a, instance: { driver: process${more} }, scaling: { ${scaling} } }]`, {
    file: 'tidegate.yaml',
    directory: '/d',
    cpus: 2,
  })
const cluster = (scaling: string, more?: string) => {
  const result = parse(scaling, more)
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
  return result.config.clusters[0]!
}
const faults = (scaling: string, more?: string) => {
  const result = parse(scaling, more)
  return 'faults' in result ? result.faults.map(({ path, message }) => `${path}: ${message}`) : []
}

t.test('scale to zero brings its minimum with it', async t => {
  t.match(cluster(''), { scaling: { minInstances: 1 }, standby: { scaleToZero: null, warmPool: null } })
  const wake = { idleAfterMs: 300_000, maxWaiting: 100, waitTimeoutMs: 30_000 }
  t.match(cluster('scale_to_zero: {}'), { scaling: { minInstances: 0 }, standby: { scaleToZero: wake } })
  t.match(cluster('min_instances: 0, scale_to_zero: { idle_after: 1m }').standby, {
    scaleToZero: { idleAfterMs: 60_000 },
  })
  t.match(faults('min_instances: 0'), [/min_instances 0 leaves nobody to answer/])
  t.match(faults('min_instances: 2, scale_to_zero: {}'), [/min_instances 2 and `scale_to_zero` contradict/])
  t.match(faults('scale_to_zero: { idle_after: 1ms }'), [/too short/])
})

t.test('growing first needs a driver that can, and a bound above the size that instances have', async t => {
  const parsed = (scaling: string, instance: string) => {
    const text = `clusters: [{ id: a, instance: { ${instance} }, scaling: { ${scaling} } }]`
    return parseConfig(text, { file: 'tidegate.yaml', directory: '/d', cpus: 2 })
  }
  const of = (scaling: string, more = '') => {
    const result = parsed(scaling, `driver: qemu, template: { kernel: k }${more}`)
    return 'faults' in result ? result.faults.map(({ path, message }) => `${path}: ${message}`) : []
  }
  const fine = parsed(
    'resize_first_cpus: 4, resize_first_memory_mib: 1024',
    'driver: qemu, template: { kernel: k }',
  )
  t.match(fine, { config: { clusters: [{ scaling: { resizeFirstCpus: 4, resizeFirstMemoryMib: 1_024 } }] } })
  t.match(of('resize_first_cpus: 1', ', resources: { cpus: 2 }'), [
    /scaling.resize_first_cpus: .* less than the 2/,
  ])
  t.match(of('resize_first_cpus: 4, resize_first_memory_mib: 128'), [
    /resize_first_memory_mib: .* less than the 384/,
  ])
  t.match(of('resize_first_memory_mib: 1024'), [/says nothing without resize_first_cpus/])
  t.match(of('resize_first_cpus: 1025'), [/resize_first_cpus/])
  t.match(faults('resize_first_cpus: 4'), [/scaling.resize_first_cpus: driver `process` cannot give/])
})

t.test('a warm pool is of golden clones', async t => {
  t.match(cluster('warm_pool: { size: 3 }').standby, { warmPool: { size: 3, state: 'paused' } })
  t.match(faults('warm_pool: { size: 3 }', ', clone_from: live'), [/holds golden clones/])
  t.match(faults('warm_pool: { size: 3, state: asleep }'), [/asleep/])
  t.match(faults('warm_pool: {}'), [/size/])
})

t.test('clones stand by where it is asked for, of what may be cloned alive', async t => {
  const live = ', clone_from: live'
  t.equal(cluster('').standby.clones, null)
  t.match(faults('standby: {}'), [/clone_from: live/])
  t.match(faults('standby: { count: 4 }', live), [/4/])
  t.match(faults('scale_to_zero: {}, standby: {}', live), [/contradict/])
  for (const [refresh, why] of [
    ['"* * *"', /has 3 fields/],
    ['"61 * * * *"', /`61` where the minute is/],
    ['"* * * * mon"', /`mon` where the day of week is/],
    ['"*/0 * * * *"', /`\*\/0`/],
    ['"5-1 * * * *"', /`5-1`/],
  ] as const)
    t.match(faults(`standby: { refresh: ${refresh} }`, live), [why], refresh)
  for (const good of ['*/5 * * * *', '0,30 8-18/2 1 1-6 0', '*/10 * * * * *']) t.equal(cronFault(good), null)
})

t.test('whoever says nothing gets golden clones', async t => {
  t.match(cluster('').instance, { cloneFrom: 'golden', warmRequests: [] })
  t.equal(cluster('', ', clone_from: live').instance?.cloneFrom, 'live')
  t.match(cluster('', ', warm_requests: [{ path: /a }]').instance?.warmRequests, [
    { method: 'GET', path: '/a', expectStatus: [{ from: 200, to: 399 }] },
  ])
  t.match(faults('', ', warm_requests: [{ method: PATCH, path: /a }]'), [/PATCH/])
  t.match(faults('', ', warm_requests: [{}]'), [/path/])
})
