/** What the admin API needs of control. Only types: routes never reach behind the façade. */
import type { Control } from '../lib/control.ts'

export type ControlPort = Pick<
  Control,
  | 'execute'
  | 'waitOperation'
  | 'waitDrained'
  | 'clusters'
  | 'cluster'
  | 'status'
  | 'backends'
  | 'backend'
  | 'operations'
  | 'operation'
  | 'history'
  | 'policy'
  | 'certificates'
  | 'nodes'
  | 'node'
  | 'waitNodeDrained'
  | 'snapshots'
  | 'diagnose'
  | 'subscribe'
  | 'ready'
  | 'metrics'
>
