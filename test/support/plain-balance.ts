/** What a cluster's configuration says of balancing when it says nothing. */
export const plainBalance = { hashBalanceFactor: 1.25, slowStartMs: 0, zonePreference: 'off' } as const
/** The same in a table. */
export const plainTableBalance = { hashBalanceFactor: 1.25, slowStartMs: 0, preferredZone: null } as const
