/**
 * What each instance was made from. A configuration names the template of now only; who wants to go back to the one before has to
 * have kept it. So the transaction that makes an instance a member keeps its template too, as long as a member was made from it or
 * a rolling replace may have to go back to it. A template's version is the hash of its inputs (`golden.ts`).
 */
import type { ClusterConfig, InstanceConfig } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Store, Write } from '../../store/store.ts'
import { KeptValues } from '../kept-values.ts'
import type { OperationRequest } from '../operation.ts'

export type KeptTemplates = {
  /** By version. */
  readonly templates: Readonly<Record<string, InstanceConfig>>
  /** The version that each member was made from; who is not in it was made by a version of Tidegate that did not say. */
  readonly instances: Readonly<Record<string, string>>
  /** Versions that an operation may have to go back to, by operation. */
  readonly pins: Readonly<Record<string, readonly string[]>>
}

const none: KeptTemplates = { templates: {}, instances: {}, pins: {} }
export class Templates {
  readonly #kept = new KeptValues<KeptTemplates>('templates:')

  load(store: Store, clusters: readonly string[]): Promise<void> {
    return this.#kept.load(store, clusters)
  }

  /** After the store has taken the batch, never before. */
  committed(batch: readonly Write[]): void {
    this.#kept.committed(batch)
  }

  /** Null: nobody kept it. */
  get(cluster: string, version: string): InstanceConfig | null {
    const { templates } = this.#of(cluster)
    return Object.hasOwn(templates, version) ? templates[version]! : null
  }

  /** Null: nobody said. */
  versionOf(cluster: string, instance: string): string | null {
    const { instances } = this.#of(cluster)
    return Object.hasOwn(instances, instance) ? instances[instance]! : null
  }

  /** The write that keeps what these new members were made from, and forgets what no member of `members` and no pin needs any more. */
  keep(
    cluster: string,
    made: readonly { readonly id: string; readonly version: string; readonly template: InstanceConfig }[],
    members: readonly string[],
  ): Write {
    const before = this.#of(cluster)
    const stay = Object.entries(before.instances).filter(([id]) => members.includes(id))
    const instances = Object.fromEntries([...stay, ...made.map(({ id, version }) => [id, version] as const)])
    const templates = {
      ...before.templates,
      ...Object.fromEntries(made.map(({ version, template }) => [version, template])),
    }
    return this.#write(cluster, { templates, instances, pins: before.pins })
  }

  /** The write that keeps these templates for as long as the operation needs them. */
  pin(cluster: string, operation: string, templates: Readonly<Record<string, InstanceConfig>>): Write {
    const before = this.#of(cluster)
    return this.#write(cluster, {
      templates: { ...before.templates, ...templates },
      instances: before.instances,
      pins: { ...before.pins, [operation]: Object.keys(templates) },
    })
  }

  unpin(cluster: string, operation: string): Write {
    const { [operation]: _, ...pins } = this.#of(cluster).pins
    return this.#write(cluster, { ...this.#of(cluster), pins })
  }

  /** Without the templates that nobody needs any more. */
  #write(cluster: string, { templates, instances, pins }: KeptTemplates): Write {
    const needed = new Set([...Object.values(instances), ...Object.values(pins).flat()])
    const kept = Object.fromEntries(Object.entries(templates).filter(([version]) => needed.has(version)))
    return this.#kept.write(cluster, { templates: kept, instances, pins })
  }

  #of(cluster: string): KeptTemplates {
    return this.#kept.get(cluster) ?? none
  }
}

/** What an operation makes new ones from: the template that it names, else the configuration's of now; null: there is none. */
export function templateFor(
  { templates }: { readonly templates: Templates },
  { id, instance }: ClusterConfig,
  request: OperationRequest,
): InstanceConfig | null {
  if (request.type !== 'replace' || request.template === undefined) return instance
  const kept = templates.get(id, request.template)
  if (kept) return kept
  throw new TidegateError(
    'operation_failed',
    `template ${request.template} of cluster \`${id}\` was not kept`,
  )
}
