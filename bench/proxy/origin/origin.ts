/**
 * The origin of all rows, on the load's core: nginx for HTTP, because it costs least, and a small Node server for WebSocket.
 *
 *   GET  /         100 bytes
 *   GET  /1m       1 MiB from a file
 *   POST /post     100 bytes, after the whole body has been read
 *   any  /mirror   JSON: what of the request arrived, as `mirror.ts` saw it
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Child, freePort, start, untilConnects, whenUp } from '../children.ts'
import type { OriginPorts } from '../row.ts'

export const largeBytes = 2 ** 20
export const smallBody = 'x'.repeat(100)

export interface Origin extends OriginPorts {
  stop(): Promise<void>
}

export async function startOrigin(scratch: string): Promise<Origin> {
  const mirror = startScript('mirror.ts')
  const echo = startScript('echo.ts')
  const mirrorPort = Number(await mirror.line())
  const echoPort = Number(await echo.line())
  const [port, statusPort] = [await freePort(), await freePort()]
  const nginx = startNginx(scratch, port, statusPort, mirrorPort)
  await whenUp(nginx, () => untilConnects(port, nginx))
  let asked = 0
  return {
    port,
    echoPort,
    counts: async () => {
      asked++
      const text = await (await fetch(`http://127.0.0.1:${statusPort}/`)).text()
      const [, accepts, , requests] = /requests\s+(\d+) (\d+) (\d+)/.exec(text) ?? []
      // The status page counts its own visitors, one request a visit.
      return { connections: Number(accepts), requests: Number(requests) - asked }
    },
    stop: async () => {
      await Promise.all([nginx, mirror, echo].map(child => child.stop()))
    },
  }
}

function startScript(name: string): Child {
  return start('others', [process.execPath, fileURLToPath(new URL(name, import.meta.url))])
}

function startNginx(scratch: string, port: number, statusPort: number, mirrorPort: number): Child {
  const directory = join(scratch, 'origin')
  mkdirSync(join(directory, 'files'), { recursive: true })
  writeFileSync(join(directory, 'files', '1m'), Buffer.alloc(largeBytes, 'x'))
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${directory}/${name};`)
    .join(' ')
  const config = join(directory, 'nginx.conf')
  writeFileSync(
    config,
    `daemon off; master_process off; worker_processes 1; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 8192; }
http {
  access_log off; ${temporary} default_type text/plain; sendfile on;
  keepalive_requests 1000000000; keepalive_timeout 1h; client_body_buffer_size 64k;
  upstream itself { server 127.0.0.1:${port}; keepalive 512; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    proxy_http_version 1.1;
    location / { return 200 "${smallBody}"; }
    location = /1m { root ${directory}/files; }
    # To pass a request on, the whole body is read first: an answer in the middle of it would be another test.
    location = /post { proxy_pass http://itself/; proxy_set_header Connection ""; proxy_set_header Content-Length ""; proxy_pass_request_body off; }
    location = /mirror {
      proxy_pass http://127.0.0.1:${mirrorPort};
      proxy_set_header Host $http_host; proxy_set_header X-Seen-Connection $http_connection; proxy_set_header X-Seen-Version $server_protocol;
    }
  }
  server { listen 127.0.0.1:${statusPort}; location / { stub_status; } }
}
`,
  )
  return start('others', ['nginx', '-e', `${directory}/error.log`, '-c', config])
}
