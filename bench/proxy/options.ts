/** The command line of `npm run bench:proxy`. @pure */
import { parseArgs } from 'node:util'

export interface Settings {
  readonly rounds: number
  readonly seconds: number
  readonly warmupSeconds: number
  /** Keep-alive connections of the client, where a row does not say another number. */
  readonly connections: number
  /** Requests per second of the open loop. */
  readonly rate: number
  readonly tunnels: number
  readonly idle: number
  /** Ids of rows; empty: all. */
  readonly only: readonly string[]
  /** Names of subjects; empty: all. Tidegate is always among them. */
  readonly subjects: readonly string[]
  /** The `engine` of Tidegate's listener; null: what the build takes by itself. */
  readonly engine: string | null
  readonly writeDocs: boolean
}

export interface Asked {
  readonly settings: Settings
  readonly help: boolean
}

export const usage = `npm run bench:proxy -- [options]        (about 20 minutes with all rows and all peers)
  --only get,post       only these rows                       (default: all; --help lists them)
  --subjects haproxy    Tidegate beside only these            (default: all that are installed)
  --rounds 5            measured rounds of each subject, interleaved
  --seconds 3           length of a round
  --warmup 4            seconds of load before the first round, for each event loop of Node (others: 1 s)
  --connections 64      keep-alive connections of the client
  --rate 3000           requests per second of the row at a fixed rate
  --tunnels 1000        WebSocket tunnels
  --idle 10000          idle client connections
  --engine relay        Tidegate's listeners[].engine         (default: its own default)
  --write-docs          also write docs/performance.md and docs/performance.svg
`

/** Throws with a sentence for people when an option is not understood. */
export function parseOptions(args: readonly string[], rows: readonly string[]): Asked {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      warmup: { type: 'string', default: '4' },
      connections: { type: 'string', default: '64' },
      rate: { type: 'string', default: '3000' },
      tunnels: { type: 'string', default: '1000' },
      idle: { type: 'string', default: '10000' },
      only: { type: 'string', default: '' },
      subjects: { type: 'string', default: '' },
      engine: { type: 'string' },
      'write-docs': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const only = names(values.only)
  for (const id of only) {
    if (!rows.includes(id)) throw new Error(`there is no row ${id}; there are: ${rows.join(', ')}`)
  }
  const settings = {
    rounds: whole('rounds', values.rounds, 1, 100),
    seconds: whole('seconds', values.seconds, 1, 600),
    warmupSeconds: whole('warmup', values.warmup, 0, 600),
    connections: whole('connections', values.connections, 1, 10_000),
    rate: whole('rate', values.rate, 1, 100_000),
    tunnels: whole('tunnels', values.tunnels, 1, 10_000),
    idle: whole('idle', values.idle, 100, 20_000),
    only,
    subjects: names(values.subjects),
    engine: values.engine ?? null,
    writeDocs: values['write-docs'],
  }
  return { settings, help: values.help }
}

function names(text: string): readonly string[] {
  return text
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '')
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new Error(`--${name} is a whole number from ${min} to ${max}, not ${text}`)
}
