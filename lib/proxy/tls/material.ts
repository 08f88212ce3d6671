/**
 * What TLS is made of, as plain data that travels to the threads: certificates, keys, authorities, ticket keys. @pure
 * Only the control plane reads files (`keeper.ts`): so all threads serve the same certificate, and a thread that is replaced
 * starts with the last good one even when the files have become faulty.
 */
export interface TlsMaterial {
  /** By the key of the use (`certificates.ts`): the names of its files. */
  readonly uses: Readonly<Record<string, UseMaterial>>
  /** 48 bytes that seal session tickets, the same in every thread. */
  readonly ticketKeys: Uint8Array
}

/** A listener's, or what a cluster's backends are spoken to with. */
export interface UseMaterial {
  readonly certificates: readonly HeldCertificate[]
  /** PEM; null: a listener asks no client for a certificate; to backends, the authorities that Node trusts. */
  readonly authorities: string | null
}

export interface HeldCertificate {
  /** PEM, the holder's own first. */
  readonly cert: string
  readonly key: string
  /** DNS names, for SNI. */
  readonly names: readonly string[]
}

/** Of a process without any TLS. */
export const noMaterial: TlsMaterial = { uses: {}, ticketKeys: new Uint8Array(48) }
