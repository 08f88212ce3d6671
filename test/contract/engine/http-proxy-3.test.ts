/** The proxy as clients and backends see it on their sockets, with the engine `http-proxy-3`. */
import { useEngine } from '../../support/traffic.ts'

useEngine('http-proxy-3')
await import('./suites/all.ts')
