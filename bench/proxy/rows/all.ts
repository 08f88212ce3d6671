/** The rows of the bench, in the order in which they are run and shown. */
import type { Row } from '../row.ts'
import { full } from './full.ts'
import { connect, fixedRate, get, large, post } from './http.ts'
import { idle } from './idle.ts'
import { pick } from './pick.ts'
import { threads } from './threads.ts'
import { h2, tlsFull, tlsResumed } from './tls.ts'
import { webSocket } from './websocket.ts'

export const rows: readonly Row[] = [
  get,
  full,
  fixedRate,
  post,
  large,
  connect,
  tlsFull,
  tlsResumed,
  h2,
  webSocket,
  idle,
  threads,
  pick,
]
