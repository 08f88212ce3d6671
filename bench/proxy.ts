/**
 * What a request costs: Tidegate, bare http-proxy-3 with a keep-alive agent, and nginx, side by side on this machine, one event loop or
 * worker each, a 100-byte answer. Rounds are interleaved, so that a slow moment of the machine hits all of them.
 *
 *   npm run bench:proxy -- [--rounds 5] [--seconds 3] [--connections 64]
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { measure, type Round } from './lib/measure.ts'
import { has, type Running, startNginx, startNode } from './lib/subjects.ts'

/** Guarding may cost this much CPU more than bare http-proxy-3. */
const allowedRatio = 1.25

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '64' },
  },
})
const settings = {
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  connections: Number(values.connections),
}

if (!has('wrk')) {
  process.stderr.write('bench:proxy needs wrk: apt-get install wrk (and nginx, to compare with it)\n')
  process.exit(1)
}

const origin = await startOrigin()
const subjects: Running[] = []
try {
  subjects.push(await startNode('tidegate', './tidegate.ts', [String(origin.port)], 'proxy'))
  subjects.push(await startNode('http-proxy-3', './bare.ts', [String(origin.port)], 'proxy'))
  if (has('nginx')) subjects.push(await startNginxProxy(origin.port))
  else process.stdout.write('nginx is left out: apt-get install nginx\n')
  report(await run())
} finally {
  for (const subject of [...subjects, origin]) await subject.stop()
}

function startOrigin(): Promise<Running> {
  if (!has('nginx')) return startNode('origin', './origin.ts', [], 'others')
  return startNginx(
    'origin',
    'others',
    `location / { default_type text/plain; return 200 "${'x'.repeat(100)}"; }`,
  )
}

function startNginxProxy(originPort: number): Promise<Running> {
  const location =
    'location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }'
  const upstream = `upstream origin { server 127.0.0.1:${originPort}; keepalive 256; keepalive_requests 1000000000; }`
  return startNginx('nginx', 'proxy', location, upstream)
}

async function run(): Promise<Map<string, Round[]>> {
  const rounds = new Map<string, Round[]>(subjects.map(({ name }) => [name, []]))
  // Compilers and pools warm up before anything counts.
  for (const subject of subjects) await measure(subject, settings.seconds, settings.connections)
  for (let round = 0; round < settings.rounds; round++) {
    for (const subject of subjects) {
      rounds.get(subject.name)!.push(await measure(subject, settings.seconds, settings.connections))
    }
  }
  return rounds
}

function report(rounds: Map<string, Round[]>): void {
  const rows = [...rounds].map(([name, list]) => ({
    name,
    requests_per_second: Math.round(median(list.map(round => round.requestsPerSecond))),
    cpu_us_per_request: tenth(median(list.map(round => round.cpuMicrosPerRequest))),
    user_us_per_request: tenth(median(list.map(round => round.userMicrosPerRequest))),
    p99_ms: tenth(median(list.map(round => round.p99Ms))),
    errors: list.reduce((sum, round) => sum + round.errors, 0),
  }))
  const bare = rows.find(({ name }) => name === 'http-proxy-3')!.cpu_us_per_request
  const table = rows.map(row => ({
    ...row,
    cpu_vs_bare: Math.round((row.cpu_us_per_request / bare) * 100) / 100,
  }))
  process.stdout.write(`${columns(table)}\n`)
  const ratio = table.find(({ name }) => name === 'tidegate')!.cpu_vs_bare
  process.stdout.write(`\nguarding costs ${ratio} × bare http-proxy-3 (allowed: ${allowedRatio})\n`)
  const directory = new URL('./results/', import.meta.url)
  mkdirSync(directory, { recursive: true })
  const facts = {
    at: new Date().toISOString(),
    node: process.version,
    cpu: cpus()[0]?.model ?? '',
    cores: cpus().length,
  }
  const result = {
    ...facts,
    settings,
    allowed_ratio: allowedRatio,
    ratio,
    rows: table,
    rounds: Object.fromEntries(rounds),
  }
  writeFileSync(new URL('proxy.json', directory), `${JSON.stringify(result, null, 2)}\n`)
  if (ratio > allowedRatio || table[0]!.errors > 0) process.exitCode = 1
}

function columns(rows: readonly Record<string, string | number>[]): string {
  const names = Object.keys(rows[0]!)
  const widths = names.map(name => Math.max(name.length, ...rows.map(row => String(row[name]).length)))
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  return [names, ...rows.map(row => names.map(name => String(row[name])))].map(line).join('\n')
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function tenth(value: number): number {
  return Math.round(value * 10) / 10
}
