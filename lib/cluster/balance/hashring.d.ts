/** The part of hashring 3.2 that `equal-ring.ts` uses. */
declare module 'hashring' {
  class HashRing {
    constructor(
      servers: Readonly<Record<string, { readonly vnodes: number }>>,
      algorithm: (key: string) => Uint8Array,
      options: {
        readonly 'vnode count': number
        readonly replicas: number
        readonly 'max cache size': number
      },
    )
    /** The points, ascending. */
    readonly ring: readonly { readonly value: number; readonly server: string }[]
    /** Where a hash value falls: an index into `ring`. */
    find(hashValue: number): number
  }
  export = HashRing
}
