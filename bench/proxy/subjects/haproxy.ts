/** HAProxy: one thread, connections to the origin shared and kept. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ask, freePort, start, untilConnects, whenUp } from '../children.ts'
import { type Order, ownDirectory, type Subject } from './subject.ts'

export const haproxy: Subject = {
  name: 'haproxy',
  howToGet: 'npm run setup -- bench (apt-get install haproxy)',
  eventLoops: 0,
  version: () => {
    const version = /version ([\d.]+)/.exec(ask('haproxy', '-v'))?.[1]
    return version ? `HAProxy ${version}` : null
  },
  start: async ({ originPort, certificate, scratch }: Order) => {
    const file = join(ownDirectory(scratch, 'haproxy'), 'haproxy.cfg')
    const port = await freePort()
    const tls = certificate ? ` ssl crt ${certificate.bundle} alpn h2,http/1.1` : ''
    writeFileSync(
      file,
      `global
  nbthread 1
  maxconn 18000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 60s
  timeout http-keep-alive 300s
  timeout tunnel 1h
  http-reuse always
  option forwardfor
frontend clients
  bind 127.0.0.1:${port} backlog 4096${tls}
  default_backend origin
backend origin
  server origin 127.0.0.1:${originPort}
`,
    )
    const child = start('subject', ['haproxy', '-db', '-f', file])
    await whenUp(child, () => untilConnects(port, child))
    return { pid: child.pid, port, stop: () => child.stop() }
  },
}
