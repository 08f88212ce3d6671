/** One round of wrk: a closed loop of keep-alive connections, one thread, on the load's core. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../children.ts'
import { type LoadReport, parseWrk } from './parse.ts'

export interface WrkOptions {
  readonly url: string
  readonly connections: number
  readonly seconds: number
  readonly headers?: Readonly<Record<string, string>>
  /** A Lua file that makes the requests. */
  readonly script?: string
}

export function wrkCommand({ url, connections, seconds, headers = {}, script }: WrkOptions): string[] {
  const fields = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const lua = script ? ['-s', script] : []
  return ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--latency', ...fields, ...lua, url]
}

export async function wrk(options: WrkOptions): Promise<LoadReport> {
  return parseWrk(await run('others', wrkCommand(options), (options.seconds + 30) * 1_000))
}

/** Posts a body of so many bytes. */
export function postScript(scratch: string, bytes: number): string {
  const file = join(scratch, 'post.lua')
  const lines = [
    'wrk.method = "POST"',
    `wrk.body = string.rep("x", ${bytes})`,
    'wrk.headers["Content-Type"] = "application/octet-stream"',
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}

/** Sends these cookies in turn, one a request. */
export function cookieScript(scratch: string, cookies: readonly string[]): string {
  const file = join(scratch, 'cookies.lua')
  const list = cookies.map(cookie => JSON.stringify(cookie)).join(', ')
  const lines = [
    `local cookies = { ${list} }`,
    'local requests, turn = {}, 0',
    'init = function(args)',
    '  for i, cookie in ipairs(cookies) do',
    '    requests[i] = wrk.format("GET", wrk.path, { ["Host"] = wrk.headers["Host"] or wrk.host, ["Cookie"] = cookie })',
    '  end',
    'end',
    'request = function()',
    '  turn = turn % #requests + 1',
    '  return requests[turn]',
    'end',
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}
