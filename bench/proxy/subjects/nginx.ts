/** nginx: one worker that is also the master, connections to the origin kept, nothing of a body on disk. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ask, freePort, start, untilConnects, whenUp } from '../children.ts'
import { openFilesMax } from '../proc.ts'
import { type Order, ownDirectory, type Subject } from './subject.ts'

export const nginx: Subject = {
  name: 'nginx',
  howToGet: 'npm run setup -- bench (apt-get install nginx-light)',
  eventLoops: 0,
  version: () => {
    const version = /nginx\/([\d.]+)/.exec(ask('nginx', '-v'))?.[1]
    return version ? `nginx ${version}` : null
  },
  start: async ({ originPort, certificate, scratch }: Order) => {
    const directory = ownDirectory(scratch, 'nginx')
    const file = join(directory, 'nginx.conf')
    const port = await freePort()
    const tls = certificate
      ? `ssl_certificate ${certificate.cert}; ssl_certificate_key ${certificate.key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache builtin:1000 shared:clients:10m;`
      : ''
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map(name => `${name}_temp_path ${directory}/${name};`)
      .join(' ')
    writeFileSync(
      file,
      `daemon off; master_process off; worker_processes 1; worker_rlimit_nofile ${Math.min(openFilesMax(), 40_000)}; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 18000; }
http {
  access_log off; ${temporary} keepalive_requests 1000000000; keepalive_timeout 300s; ${tls}
  map $http_upgrade $to_origin { default upgrade; '' ''; }
  upstream origin { server 127.0.0.1:${originPort}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096${certificate ? ' ssl http2' : ''};
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_max_temp_file_size 0; proxy_read_timeout 1h;
      proxy_set_header Connection $to_origin; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`,
    )
    const child = start('subject', ['nginx', '-e', `${directory}/error.log`, '-c', file])
    await whenUp(child, () => untilConnects(port, child))
    return { pid: child.pid, port, stop: () => child.stop() }
  },
}
