/** What an application gives to the guest library. @pure */

/** Who an instance is. Two instances never share an incarnation, also when one is made under the name of an older one. */
export interface GuestIdentity {
  readonly instanceId: string
  readonly incarnation: string
  readonly cluster: string
  /** `created`: a cold start. `cloned`: this was a copy of another instance until now. */
  readonly reason: 'created' | 'cloned'
  /** Of a clone, where it is known: whose copy it is, and as of when. */
  readonly clonedFrom?: { readonly instanceId: string; readonly at: Date }
}

export interface GuestHooks<State> {
  /**
   * Gives the state away for a snapshot; the application goes on serving. Plain JSON, bytes, or an async iterable of
   * bytes. What it returns without awaiting is of one moment, because nothing else of the application runs meanwhile;
   * over an `await` the application keeps itself consistent.
   */
  handOver?: () => State | Promise<State>
  /** Replaces the state by what `handOver` gave in the source: parsed JSON, a Buffer, or a readable stream to be read to its end. */
  takeBack?: (state: State) => void | Promise<void>
  /** Hears who this instance is. Throwing refuses the identity, and the instance never serves. */
  identified?: (identity: GuestIdentity) => void | Promise<void>
  /**
   * Hears what it may use when the VM is given other resources while it runs, to size its own pools and caches: before
   * something leaves, and after something came. The same may be said twice.
   */
  resized?: (resources: GuestResources) => void | Promise<void>
}

export interface GuestResources {
  readonly cpus: number
  /** Of the machine: what the kernel takes for itself is still in it. */
  readonly memoryBytes: number
  /** 0 where it has none. */
  readonly diskBytes: number
  /** A hint: what caches on the heap of one Node process may grow to beside everything else. Half of the memory. */
  readonly heapBytes: number
}

/** The same hooks once their state's type has done its work; null: not given. */
export interface AnyHooks {
  readonly handOver: (() => unknown) | null
  // biome-ignore lint/suspicious/noExplicitAny: what was handed over by one hook is given to the other, unseen.
  readonly takeBack: ((state: any) => void | Promise<void>) | null
  readonly identified: ((identity: GuestIdentity) => void | Promise<void>) | null
  readonly resized: ((resources: GuestResources) => void | Promise<void>) | null
}
