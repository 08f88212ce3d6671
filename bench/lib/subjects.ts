/** The proxies that are compared, each one process with one event loop (or one worker) in front of the same origin, and that origin. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export interface Running {
  readonly name: string
  readonly pid: number
  readonly port: number
  stop(): Promise<void>
}

/** With two cores or more: proxies on the first, load and origin on the others. */
const pinned = availableParallelism() >= 2 && has('taskset')
const others = `1-${availableParallelism() - 1}`
export const pin = (core: 'proxy' | 'others', command: readonly string[]): readonly string[] =>
  pinned ? ['taskset', '-c', core === 'proxy' ? '0' : others, ...command] : command

export function has(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0
}

export async function startNode(
  name: string,
  script: string,
  args: readonly string[],
  where: 'proxy' | 'others',
): Promise<Running> {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const [program, ...rest] = pin(where, [process.execPath, path, ...args])
  const child = spawn(program!, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout!, 'data')
  return running(name, child, Number(String(line)))
}

/** `locations`: the body of nginx's `server` block; `$upstream` is declared outside of it. */
export async function startNginx(
  name: string,
  where: 'proxy' | 'others',
  locations: string,
  upstream = '',
): Promise<Running> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-'))
  for (const part of ['body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']) mkdirSync(join(directory, part))
  const port = await freePort()
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(part => `${part}_temp_path ${join(directory, part.replace('client_', ''))};`)
    .join(' ')
  writeFileSync(
    join(directory, 'nginx.conf'),
    `daemon off; master_process off; worker_processes 1; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 4096; }
http { access_log off; ${paths} keepalive_requests 1000000000; ${upstream} server { listen 127.0.0.1:${port} backlog=4096; ${locations} } }`,
  )
  const [program, ...rest] = pin(where, [
    'nginx',
    '-e',
    join(directory, 'error.log'),
    '-c',
    join(directory, 'nginx.conf'),
  ])
  const child = spawn(program!, rest, { stdio: ['ignore', 'ignore', 'inherit'] })
  await untilConnects(port)
  const { stop, ...rest2 } = running(name, child, port)
  return {
    ...rest2,
    stop: async () => {
      await stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function running(name: string, child: ChildProcess, port: number): Running {
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return { name, pid: child.pid!, port, stop }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

async function untilConnects(port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const socket = connect(port, '127.0.0.1')
    const connected = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false)
    socket.destroy()
    if (connected) return
    await delay(25)
  }
  throw new Error(`nothing listens on port ${port}`)
}
