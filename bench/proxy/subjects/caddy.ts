/** Caddy: one processor for its scheduler, as many kept connections to the origin as the clients may need. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ask, freePort, start, untilConnects, whenUp } from '../children.ts'
import { type Order, ownDirectory, type Subject } from './subject.ts'

export const caddy: Subject = {
  name: 'caddy',
  howToGet: 'npm run setup -- bench (apt-get install caddy)',
  eventLoops: 0,
  version: () => {
    const version = /^v?(\d[\d.]*)/m.exec(ask('caddy', 'version'))?.[1]
    return version ? `Caddy ${version}` : null
  },
  start: async ({ originPort, certificate, scratch }: Order) => {
    const directory = ownDirectory(scratch, 'caddy')
    const file = join(directory, 'Caddyfile')
    const port = await freePort()
    const site = certificate
      ? `https://localhost:${port}, https://127.0.0.1:${port}`
      : `http://127.0.0.1:${port}`
    writeFileSync(
      file,
      `{
  admin off
  auto_https ${certificate ? 'disable_redirects' : 'off'}
  log {
    level ERROR
  }
}
${site} {
  bind 127.0.0.1
  ${certificate ? `tls ${certificate.cert} ${certificate.key}` : ''}
  reverse_proxy 127.0.0.1:${originPort} {
    transport http {
      keepalive_idle_conns 512
      keepalive_idle_conns_per_host 512
    }
  }
}
`,
    )
    const child = start('subject', ['caddy', 'run', '--config', file, '--adapter', 'caddyfile'], {
      env: { GOMAXPROCS: '1', HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory },
    })
    await whenUp(child, () => untilConnects(port, child))
    return { pid: child.pid, port, stop: () => child.stop() }
  },
}
