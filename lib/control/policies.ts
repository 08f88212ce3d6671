/**
 * Scaling policies set through the API. The newest word wins: one set here goes on over restarts and reloads until the file says
 * something else of that cluster than it said when this was set; then the file's comes into force and this one is forgotten.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Clusters } from '../cluster/clusters.ts'
import type { Actor } from '../command.ts'
import type { ClusterConfig, Config } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import { type PolicyView, policyChanges, policyFaults, policyOfView, policyView } from '../policy.ts'
import type { Json, Store, Write } from '../store/store.ts'
import type { PolicyAnswer } from '../views.ts'
import type { Audit } from './audit.ts'

export interface PoliciesDeps {
  readonly clusters: Clusters
  readonly store: Store
  readonly audit: Audit
}

interface Kept {
  readonly policy: PolicyView
  /** What the file said when it was set. */
  readonly file: PolicyView
  readonly set_by: string
  /** ISO 8601. */
  readonly set_at: string
}

const keyOf = (cluster: string) => `policy:${cluster}`

export class Policies {
  readonly #deps: PoliciesDeps
  #files: ReadonlyMap<string, PolicyView> = new Map()
  readonly #kept = new Map<string, Kept>()

  constructor(deps: PoliciesDeps) {
    this.#deps = deps
  }

  /** Throws `unknown_cluster`. */
  view(cluster: string): PolicyAnswer {
    const policy = policyView(this.#deps.clusters.config(cluster).scaling)
    const kept = this.#kept.get(cluster)
    const { set_by = null, set_at = null } = kept ?? {}
    return { cluster_id: cluster, ...policy, source: kept ? 'api' : 'file', set_by, set_at }
  }

  /** What is left out stays as it is. Throws `unknown_cluster`, or `invalid_request` with every fault. */
  async set(cluster: string, given: Partial<PolicyView>, actor: Actor): Promise<PolicyAnswer> {
    const { scaling, standby, instance } = this.#deps.clusters.config(cluster)
    const before = policyView(scaling)
    const policy = { ...before, ...given }
    const faults = policyFaults(policy, standby.scaleToZero !== null, instance)
    if (faults.length > 0) {
      const sentences = faults.map(({ field, message, fix }) => `${field}: ${message} (${fix})`)
      throw new TidegateError('invalid_request', `The policy is impossible: ${sentences.join('; ')}`, {
        details: { faults },
      })
    }
    const at = new Date(this.#deps.audit.now()).toISOString()
    const kept: Kept = { policy, file: this.#files.get(cluster) ?? before, set_by: actor, set_at: at }
    const changes = policyChanges(before, policy)
    const reason = changes.length > 0 ? `Changed the policy: ${changes.join(', ')}` : 'Confirmed the policy'
    await this.#write(cluster, kept, actor, { from: before, to: policy, reason })
    this.#deps.clusters.setPolicy(cluster, policyOfView(policy))
    return this.view(cluster)
  }

  /** Back to the file's. */
  async reset(cluster: string, actor: Actor): Promise<PolicyAnswer> {
    const before = policyView(this.#deps.clusters.config(cluster).scaling)
    const file = this.#files.get(cluster) ?? before
    if (!this.#kept.has(cluster)) return this.view(cluster)
    const reason = `Gave up the policy of the API for the file's: ${policyChanges(before, file).join(', ') || 'the same'}`
    await this.#write(cluster, null, actor, { from: before, to: file, reason })
    this.#deps.clusters.setPolicy(cluster, policyOfView(file))
    return this.view(cluster)
  }

  /** At start, before anything scales: what was set comes into force. */
  async restore(config: Config): Promise<void> {
    await (await this.prepare(config)).commit()
  }

  /** A part of a reload. */
  async prepare({ clusters }: Config): Promise<{ commit(): Promise<void>; undo(): Promise<void> }> {
    const { store } = this.#deps
    const found = clusters.map(async cluster => [cluster, await store.value(keyOf(cluster.id))] as const)
    const stored = await Promise.all(found)
    return {
      commit: async () => {
        this.#files = new Map(clusters.map(({ id, scaling }) => [id, policyView(scaling)]))
        this.#kept.clear()
        for (const [cluster, kept] of stored)
          if (kept !== null) await this.#takeUp(cluster, kept as unknown as Kept)
      },
      undo: async () => {},
    }
  }

  async #takeUp({ id, scaling }: ClusterConfig, kept: Kept): Promise<void> {
    const file = policyView(scaling)
    // A version that knows more keys than the one that kept it: what it did not know is not a change of the file.
    const known = { ...file, ...kept.file }
    if (isDeepStrictEqual(known, file)) {
      this.#kept.set(id, kept)
      this.#deps.clusters.setPolicy(id, policyOfView({ ...file, ...kept.policy }))
      return
    }
    const reason = `The file's policy has changed and replaces the API's: ${policyChanges(kept.policy, file).join(', ')}`
    await this.#write(id, null, 'reload', { from: kept.policy, to: file, reason })
  }

  async #write(
    cluster: string,
    kept: Kept | null,
    actor: Actor,
    said: { readonly from: PolicyView; readonly to: PolicyView; readonly reason: string },
  ): Promise<void> {
    const { store, audit } = this.#deps
    const { from, to, reason } = said
    const act = { cluster, action: 'set_policy', from: { ...from }, to: { ...to }, reason }
    const value: Write = { put: 'value', key: keyOf(cluster), value: kept as unknown as Json }
    await store.write([value, audit.line(actor, act)])
    if (kept) this.#kept.set(cluster, kept)
    else this.#kept.delete(cluster)
  }
}
