/** What the connections of one relay listener share. */
import type { Deadlines } from '../../deadlines.ts'
import type { DataPlaneContext } from '../../exchanges.ts'
import type { Roster } from '../../roster.ts'
import type { ClientConnection } from './client-connection.ts'

export interface RelayListenerState {
  readonly context: DataPlaneContext
  readonly deadlines: Deadlines
  readonly connections: Roster<ClientConnection>
  /** No longer accepting: every answer ends its connection. */
  stopped: boolean
}
