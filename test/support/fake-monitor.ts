/** A QEMU monitor (QMP) on a real unix socket, that says what a test wants of it: also what QEMU never should. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

export const greeting = '{"QMP": {"version": {}, "capabilities": []}}\n'

export interface Asked {
  readonly execute: string
  readonly arguments: Readonly<Record<string, unknown>>
  readonly id: number
}

/** What a command gets: an answer, or QEMU's refusal. */
export const answered = ({ id }: Asked, result: unknown = {}): string =>
  `${JSON.stringify({ return: result, id })}\n`
export const refused = ({ id }: Asked, desc: string): string =>
  `${JSON.stringify({ error: { class: 'GenericError', desc }, id })}\n`
export const happened = (event: string, data: object = {}): string =>
  `${JSON.stringify({ timestamp: { seconds: 1, microseconds: 0 }, event, data })}\n`

/** It says `hello` and negotiates; all else is up to `answer`. Returns the path of its socket. */
export async function fakeMonitor(
  t: Test,
  answer: (asked: Asked, socket: Socket) => void,
  hello = greeting,
  name = 'control.sock',
): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'qmp-'))
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.write(hello)
    let text = ''
    socket.on('data', chunk => {
      const lines = (text + chunk).split('\n')
      text = lines.pop()!
      for (const line of lines) {
        const asked = JSON.parse(line) as Asked
        if (asked.execute === 'qmp_capabilities') socket.write(answered(asked))
        else answer(asked, socket)
      }
    })
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const path = join(directory, name)
  await new Promise<void>(resolve => server.listen(path, resolve))
  return path
}
