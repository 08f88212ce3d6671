/** What a command asks for, in people's words and as the audit trail files it. @pure */
import type { Command } from '../command.ts'
import type { Json } from '../store/store.ts'

export interface Asked {
  readonly cluster: string | null
  readonly node?: string
  readonly action: string
  readonly to: Json
  /** After "Refused to": `scale to 5`. */
  readonly words: string
}

export function askedIn(command: Command): Asked {
  const action = command.kind
  const of = (cluster: string | null, to: Json, words: string): Asked => ({ cluster, action, to, words })
  switch (command.kind) {
    case 'scale':
      return of(command.cluster, command.targetCount, `scale to ${command.targetCount}`)
    case 'scale_to_cpus': {
      const { cluster, targetCpus: cpus } = command
      return { cluster, action: 'scale', to: { cpus }, words: `scale to ${cpus} CPUs` }
    }
    case 'replace':
      return of(command.cluster, command.instanceId, `replace instance ${command.instanceId}`)
    case 'replace_all':
      return of(command.cluster, 'all', 'replace all instances')
    case 'replace_rolling':
      return of(command.cluster, { ...command.wish }, 'replace all instances batch by batch')
    case 'resize':
      return of(command.cluster, { ...command.resources }, `resize instance ${command.instanceId}`)
    case 'cancel_operation':
      return of(null, command.operation, `cancel operation ${command.operation}`)
    case 'acknowledge_operation':
      return of(null, command.operation, `acknowledge operation ${command.operation}`)
    case 'drain_backend':
      return of(command.cluster, 'drain', `drain backend ${command.backend}`)
    case 'ready_backend':
      return of(command.cluster, 'ready', `make backend ${command.backend} ready`)
    case 'maint_backend':
      return of(command.cluster, 'maint', `take backend ${command.backend} to maintenance`)
    case 'protect_backend':
      return of(
        command.cluster,
        command.protected,
        `${command.protected ? '' : 'un'}protect instance ${command.backend}`,
      )
    case 'register_backend':
      return of(command.cluster, command.backend, `register backend ${command.backend}`)
    case 'deregister_backend':
      return of(command.cluster, null, `deregister backend ${command.backend}`)
    case 'drain_node':
      return { ...of(null, 'draining', `drain node ${command.node}`), node: command.node }
    case 'ready_node':
      return { ...of(null, 'ready', `make node ${command.node} ready`), node: command.node }
    case 'set_policy':
      return of(command.cluster, { ...command.policy }, 'change the policy')
    case 'reset_policy':
      return of(command.cluster, null, "go back to the file's policy")
    case 'remove_snapshot':
      return of(null, command.snapshot, `remove snapshot ${command.snapshot}`)
    case 'reload':
      return of(null, null, 'reload the configuration')
  }
}
