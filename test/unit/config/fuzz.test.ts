/** Random shapes under the format's own keys: parse never throws, and every fault can be shown. Seeded, so a failure repeats. */
import t from 'tap'
import { stringify } from 'yaml'
import { parseConfig } from '../../../lib/config/parse.ts'
import { configSchema } from '../../../lib/config/schema.ts'
import type { z } from '../../../lib/schema.ts'
import { schemaKeys } from '../../support/schema-keys.ts'

const seed = Number(process.env.SEED ?? 20_260_102)
const rounds = 400

/** mulberry32: 32 bits of state are plenty for shapes. */
function chance(seed: number) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const around = { cpus: 2, memoryBytes: 1, diskBytes: 1, absolute: (path: string) => `/${path}` }
const keys = [
  ...new Set(schemaKeys(configSchema(around) as z.ZodType).flatMap(path => path.split(/\.|\[\]/))),
].filter(key => key !== '')
const scalars = [
  null,
  true,
  0,
  -1,
  3.5,
  1e300,
  Number.NaN,
  '',
  'none',
  'auto',
  'qemu',
  'process',
  '30s',
  '5GiB',
  'h:80',
  '*',
  '/',
  '::',
  '\u0000',
  '__proto__',
  'a\nb',
  '2026-01-01',
  '0x10',
  '~',
  '!',
  '&a',
  '*a',
]

function shape(random: () => number, depth: number): unknown {
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T
  const kind = random()
  if (depth === 0 || kind < 0.3) return pick(scalars)
  const count = Math.floor(random() * 4)
  if (kind < 0.5) return Array.from({ length: count }, () => shape(random, depth - 1))
  const group: Record<string, unknown> = {}
  for (let i = 0; i < count + 1; i++) {
    const key = random() < 0.9 ? pick(keys) : pick(['__proto__', 'constructor', '', 'x y', '1', 'toString'])
    Object.defineProperty(group, key, {
      value: shape(random, depth - 1),
      enumerable: true,
      configurable: true,
    })
  }
  return group
}

t.test(`any shape gives a config or faults (SEED=${seed})`, async t => {
  const random = chance(seed)
  let faulty = 0
  for (let round = 0; round < rounds; round++) {
    const value = shape(random, 5)
    const text = random() < 0.5 ? stringify(value) : (JSON.stringify(value) ?? 'null')
    // Half of them are damaged on the way, so that syntax faults are met too.
    const at = Math.floor(random() * text.length)
    const damaged =
      random() < 0.5
        ? text
        : `${text.slice(0, at)}${'[{"\'\t:&*!|>'[Math.floor(random() * 11)]}${text.slice(at + 1)}`
    const result = parseConfig(damaged, { file: 't', directory: '/d', cpus: 1 })
    if (!('faults' in result)) continue
    faulty += 1
    for (const fault of result.faults) {
      const shown = fault.message !== '' && fault.fix !== '' && fault.line >= 1 && fault.column >= 1
      if (!shown)
        t.fail(`a fault that cannot be shown: ${JSON.stringify(fault)} in ${JSON.stringify(damaged)}`)
    }
  }
  t.ok(faulty > rounds / 2, `${faulty} of ${rounds} were faulty`)
})

t.test(`a good config with one value replaced (SEED=${seed})`, async t => {
  const random = chance(seed + 1)
  const good = {
    listeners: [{ address: '127.0.0.1:80' }],
    admin: { address: '127.0.0.1:90', auth: 'none' },
    nodes: [{ id: 'n', driver: 'process', capacity: { cpus: 1, memory: '1GiB', disk: '1GiB' } }],
    clusters: [
      {
        id: 'w',
        routes: [{ host: 'a', path: '/' }],
        affinity: { method: 'cookie', name: 'x' },
        backends: [{ id: 'a', address: 'h:1', weight: 1 }],
        instance: { driver: 'process', port: 1, template: {} },
        health: { interval: '1s' },
        scaling: { min_instances: 1 },
      },
    ],
  }
  t.ok('config' in parseConfig(JSON.stringify(good), { file: 't', directory: '/d', cpus: 1 }))
  for (let round = 0; round < rounds; round++) {
    const copy = structuredClone(good)
    // Walks down at random and replaces what it stands on.
    let holder: Record<string, unknown> = copy as unknown as Record<string, unknown>
    for (;;) {
      const names = Object.keys(holder)
      const name = names[Math.floor(random() * names.length)]
      if (name === undefined) break
      const child = holder[name]
      if (typeof child === 'object' && child !== null && random() < 0.8) {
        holder = child as Record<string, unknown>
        continue
      }
      holder[name] = shape(random, 2)
      break
    }
    t.doesNotThrow(() => parseConfig(stringify(copy), { file: 't', directory: '/d', cpus: 1 }))
  }
})
