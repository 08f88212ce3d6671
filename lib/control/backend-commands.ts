/**
 * What operators do to backends: drain, ready, maintenance, register, deregister. One after another: each checks, stores and
 * takes effect, and between these nobody else may change it. What was promised is stored before it takes effect.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { BackendView, DrainPolicy, DrainProof } from '../cluster/backend.ts'
import type { Clusters } from '../cluster/clusters.ts'
import type { Actor, Command } from '../command.ts'
import { Drains } from '../drains.ts'
import { TidegateError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Scaling } from '../scaling/scaling.ts'
import type { DrainRecord, Json, MarkRecord, Store, Write } from '../store/store.ts'
import type { CommandResult } from '../views.ts'
import type { Audit } from './audit.ts'
import { resourcesView } from './nodes.ts'

export type BackendCommand = Extract<Command, { backend: string }>

export interface BackendCommandsDeps {
  readonly clusters: Clusters
  readonly scaling: Scaling
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly audit: Audit
}

export class BackendCommands {
  readonly #deps: BackendCommandsDeps
  readonly #drains: Drains

  constructor(deps: BackendCommandsDeps) {
    this.#deps = deps
    this.#drains = new Drains(deps.clusters, deps.clock, deps.log)
  }

  execute(command: BackendCommand, actor: Actor): Promise<CommandResult> {
    switch (command.kind) {
      case 'drain_backend':
        return this.#drain(command, actor)
      case 'ready_backend':
        return this.#ready(command, actor)
      case 'maint_backend':
        return this.#maint(command, actor)
      case 'protect_backend':
        return this.#protect(command, actor)
      case 'register_backend':
        return this.#register(command, actor)
      case 'deregister_backend':
        return this.#deregister(command, actor)
    }
  }

  /** Drains that a former process began go on. */
  resume(marks: readonly MarkRecord[]): void {
    this.#drains.resume(marks)
  }

  /** What is left on the backend when its drain has ended, or at the latest after `timeoutMs`. */
  async waitDrained(cluster: string, backend: string, timeoutMs: number): Promise<DrainProof> {
    const abort = new AbortController()
    const timeout = this.#deps.clock.sleep(timeoutMs, abort.signal).catch(() => {})
    try {
      return await this.#drains.wait(cluster, backend, timeout)
    } finally {
      abort.abort()
    }
  }

  close(): void {
    this.#drains.close()
  }

  #view({ cluster, backend }: { readonly cluster: string; readonly backend: string }): BackendView {
    return this.shown(this.#deps.clusters.backend(cluster, backend))
  }

  /** With what scaling knows of the instance behind it. */
  shown(view: BackendView): BackendView {
    const record = view.instance ? this.#deps.scaling.instance(view.id) : null
    if (!view.instance || !record) return view
    const own = record.resources ? { resources: resourcesView(record.resources) } : {}
    const lineage = (record.lineage ?? []).map(({ instance, incarnation, asOfMs }) => ({
      instance_id: instance,
      as_of: new Date(asOfMs).toISOString(),
      golden: incarnation === null,
    }))
    return { ...view, instance: { ...view.instance, protected: record.protected ?? false, ...own, lineage } }
  }

  async #drain(command: Extract<Command, { kind: 'drain_backend' }>, actor: Actor): Promise<CommandResult> {
    const { cluster, backend } = command
    const policy = { ...this.#deps.clusters.config(cluster).drain, ...command.policy }
    await this.#mark(command, 'drain', actor, policy)
    this.#drains.start(cluster, backend, policy)
    return { result: 'backend', backend: this.#view(command) }
  }

  async #ready(command: BackendCommand, actor: Actor): Promise<CommandResult> {
    this.#drains.stop(command.cluster, command.backend)
    await this.#mark(command, null, actor)
    return { result: 'backend', backend: this.#view(command) }
  }

  async #protect(
    command: Extract<Command, { kind: 'protect_backend' }>,
    actor: Actor,
  ): Promise<CommandResult> {
    const { cluster, backend: id, protected: on } = command
    const { scaling } = this.#deps
    const before = scaling.instance(id)?.protected ?? false
    const reason = `${on ? 'Protected' : 'Took back the protection of'} instance ${id}`
    await scaling.protect(cluster, id, on, this.#line(command, actor, before, on, reason))
    return { result: 'backend', backend: this.#view(command) }
  }

  async #maint(command: BackendCommand, actor: Actor): Promise<CommandResult> {
    this.#drains.stop(command.cluster, command.backend)
    await this.#mark(command, 'maint', actor)
    return { result: 'backend', backend: this.#view(command) }
  }

  /** The mark is stored before it takes effect: what an operator was told must survive a crash. */
  async #mark(
    command: BackendCommand,
    mark: 'drain' | 'maint' | null,
    actor: Actor,
    policy?: DrainPolicy,
  ): Promise<void> {
    const { clusters, store, clock } = this.#deps
    const { cluster, backend } = command
    const before = clusters.backend(cluster, backend)
    const write: Write = mark
      ? {
          put: 'mark',
          record: { cluster, backend, mark, ...(policy ? { drain: recordOf(policy, clock) } : {}) },
        }
      : { delete: 'mark', cluster, backend }
    const verb = mark === 'drain' ? 'Draining' : mark === 'maint' ? 'Took to maintenance' : 'Made ready'
    await store.write([
      write,
      this.#line(command, actor, before.state, mark ?? 'ready', `${verb} backend ${backend}`),
    ])
    clusters.mark(cluster, backend, mark)
  }

  async #register(
    command: Extract<Command, { kind: 'register_backend' }>,
    actor: Actor,
  ): Promise<CommandResult> {
    const { clusters, store } = this.#deps
    const { cluster, backend: id, host, port, weight, zone } = command
    if (clusters.backends(cluster).some(backend => backend.id === id)) {
      throw new TidegateError('backend_exists', `Cluster \`${cluster}\` already has a backend \`${id}\`.`)
    }
    const incarnation = randomBytes(16).toString('base64url')
    const record = { cluster, id, address: { host, port }, weight, incarnation }
    await store.write([
      { put: 'backend', record: zone === undefined ? record : { ...record, zone } },
      this.#line(command, actor, null, id, `Registered backend ${id} at ${host}:${port}`),
    ])
    const where = { id, host, port, weight, incarnation, zone: zone ?? null }
    await clusters.change(cluster, { add: [{ ...where, instance: null, verified: false, mark: null }] })
    return { result: 'backend', backend: this.#view(command) }
  }

  async #deregister(command: BackendCommand, actor: Actor): Promise<CommandResult> {
    const { clusters, store } = this.#deps
    const { cluster, backend: id } = command
    const view = clusters.backend(cluster, id)
    if (view.instance) {
      throw new TidegateError(
        'backend_is_instance',
        `Backend \`${id}\` is an instance; use \`scale\` or \`replace\` so that it is drained and destroyed.`,
      )
    }
    if (clusters.config(cluster).backends.some(backend => backend.id === id)) {
      throw new TidegateError(
        'invalid_request',
        `Backend \`${id}\` comes from the configuration file; remove it there, or use \`maint\` to take it out of rotation.`,
      )
    }
    this.#drains.stop(cluster, id)
    await store.write([
      { delete: 'backend', cluster, id },
      { delete: 'mark', cluster, backend: id },
      this.#line(command, actor, id, null, `Deregistered backend ${id}`),
    ])
    const { drain } = clusters.config(cluster)
    await clusters.change(cluster, { remove: [id] })
    // What is in flight on it may end; nothing new reaches it from this generation on.
    void clusters.seeOut(cluster, id, drain).catch((error: unknown) => {
      this.#deps.log.error({ cluster, backend: id, err: error }, 'waiting for a deregistered backend failed')
    })
    return { result: 'removed' }
  }

  #line(command: BackendCommand, actor: Actor, from: Json, to: Json, reason: string): Write {
    const { cluster, kind: action, backend } = command
    return this.#deps.audit.line(actor, { cluster, backend, action, from, to, reason })
  }
}

const recordOf = (policy: DrainPolicy, clock: Clock): DrainRecord => ({
  deadlineAtMs: clock.now() + (policy.waitForConnections ? policy.gracePeriodMs : 0),
  policy,
})
