/** Which nodes take no new instances because an operator is emptying them. Kept in the store as one value, and in memory beside it. */
import type { Json, Store, Write } from '../../store/store.ts'

/** What was asked of a node. */
export interface NodeMark {
  readonly actor: string
  /** ISO 8601. */
  readonly requested_at: string
  readonly drained_at: string | null
  /** Instances that were on it then. */
  readonly instances: number
}

const key = 'node_marks'

export class NodeMarks {
  #marks: Readonly<Record<string, NodeMark>> = {}

  async load(store: Store): Promise<void> {
    this.#marks = ((await store.value(key)) ?? {}) as unknown as Record<string, NodeMark>
  }

  get(node: string): NodeMark | null {
    return Object.hasOwn(this.#marks, node) ? this.#marks[node]! : null
  }

  ids(): readonly string[] {
    return Object.keys(this.#marks)
  }

  /** Why the node takes no new instances; null: it does. */
  closed(node: string): string | null {
    return this.get(node) ? 'being drained' : null
  }

  /** The write that sets or takes back a mark, and what makes it known here once it is stored. */
  change(node: string, mark: NodeMark | null): { readonly write: Write; readonly stored: () => void } {
    const { [node]: _, ...others } = this.#marks
    const marks = mark ? { ...others, [node]: mark } : others
    return {
      write: { put: 'value', key, value: marks as unknown as Json },
      stored: () => {
        this.#marks = marks
      },
    }
  }
}
