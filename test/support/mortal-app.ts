/**
 * The demo application with a way to be killed from outside its machine: `POST /killed` ends it with SIGKILL, in the middle of
 * whatever it does and without a word.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import '../../examples/app/server.ts'

subscribe('http.server.request.start', message => {
  const { request } = message as { readonly request: IncomingMessage }
  if (request.method === 'POST' && request.url === '/killed') process.kill(process.pid, 'SIGKILL')
})
