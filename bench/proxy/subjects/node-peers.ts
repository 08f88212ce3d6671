/** The Node peers: scripts in `bench/peers`, where their packages are installed, apart from Tidegate's own. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { start, whenUp } from '../children.ts'
import type { Order, Subject } from './subject.ts'

const directory = join(import.meta.dirname, '../../peers')

function peer(name: string, packageName: string): Subject {
  return {
    name,
    howToGet: 'npm run setup -- bench (npm ci in bench/peers)',
    eventLoops: 1,
    version: () => {
      const manifest = join(directory, 'node_modules', packageName, 'package.json')
      if (!existsSync(manifest)) return null
      return `${packageName} ${JSON.parse(readFileSync(manifest, 'utf8')).version}`
    },
    start: async ({ originPort, certificate }: Order) => {
      const order = JSON.stringify({ origin: originPort, ...(certificate ?? {}) })
      const child = start('subject', [process.execPath, join(directory, `${name}.mjs`), order])
      const port = Number(await whenUp(child, () => child.line()))
      return { pid: child.pid, port, stop: () => child.stop() }
    },
  }
}

export const httpProxy3 = peer('http-proxy-3', 'http-proxy-3')
export const fastifyHttpProxy = peer('fastify-http-proxy', '@fastify/http-proxy')
export const httpxy = peer('httpxy', 'httpxy')
