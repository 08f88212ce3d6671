/** The proxy as clients and backends see it on their sockets, with the engine `relay`. */
import { useEngine } from '../../support/traffic.ts'

useEngine('relay')
await import('./suites/all.ts')
