/**
 * What the driver (host side) and the application's agent (guest side) say to each other: HTTP/1.1 with JSON bodies,
 * over a unix socket (an instance that is a process) or a TCP port (an instance that is a VM). @pure
 * Both sides import this file and nothing else of each other.
 *
 *   GET  ping       → 200 PingAnswer
 *   POST hand_over  → 200 the application's state as a stream, its shape in `stateHeader`, its pause in `pausedHeader`
 *   POST take_back  ← the same stream and `stateHeader`         → 200 TakeBackAnswer
 *   POST identify   ← IdentifyRequest                           → 200 IdentifyAnswer
 *   POST resize     ← ResizeRequest                             → 200 ResizeAnswer
 *   POST limits     ← LimitsRequest                             → 200 LimitsAnswer
 *
 * Every request carries `authorization: Bearer <token>`. A failure is `{ "error": { "code", "message" } }` with a status
 * from `guestFailures`. A stream that ends without its last chunk (RFC 9112 §8) was cut and must not be used.
 */

/** The environment of an instance. Without a socket or a port in it, the library does nothing. */
export const guestEnv = {
  /** Path of the unix socket to listen on. */
  socket: 'TIDEGATE_GUEST_SOCKET',
  /** TCP port to listen on, on all addresses of the VM; used when there is no socket. */
  port: 'TIDEGATE_GUEST_PORT',
  /** The bearer token itself … */
  token: 'TIDEGATE_GUEST_TOKEN',
  /** … or a file that holds it (trailing white space is ignored). */
  tokenFile: 'TIDEGATE_GUEST_TOKEN_FILE',
  /** `1` inside a VM: the agent may then set the host name and the wall clock. */
  vm: 'TIDEGATE_GUEST_VM',
  /** Where a VM's image keeps the pipes of the program that sets the clock and reseeds the kernel: this, with `.in` and `.out`. */
  mender: 'TIDEGATE_MENDER',
} as const

export const guestPaths = {
  ping: '/tidegate/v1/ping',
  handOver: '/tidegate/v1/hand_over',
  takeBack: '/tidegate/v1/take_back',
  identify: '/tidegate/v1/identify',
  resize: '/tidegate/v1/resize',
  limits: '/tidegate/v1/limits',
} as const

export const guestProtocolVersion = 1

export const guestLimits = {
  /** Largest JSON body of `identify` and of every answer but `hand_over`. */
  jsonBodyBytesMax: 64 * 1024,
  /** Largest state that `take_back` accepts and `hand_over` gives. */
  stateBytesMax: 1024 * 1024 * 1024,
  headersBytesMax: 16 * 1024,
  tokenBytesMin: 16,
  tokenBytesMax: 512,
  entropyBytesMin: 32,
  entropyBytesMax: 4096,
  connectionsMax: 16,
  cpusMax: 1024,
  /** How long the application's `identified` hook may take inside the guest, and its `resized` hook. */
  identifyHookMs: 5_000,
  /** How long one `hand_over` or `take_back` may take inside the guest, hook and transfer together. */
  stateTransferMs: 60_000,
} as const

/** `json` | `bytes` | `stream`: how `hand_over`'s state is to be given back to `takeBack`. */
export const stateHeader = 'tidegate-state'
export type StateShape = 'json' | 'bytes' | 'stream'
export const isStateShape = (value: unknown): value is StateShape =>
  value === 'json' || value === 'bytes' || value === 'stream'

/** Milliseconds for which the application could do nothing else while its state was taken (decimal, may have a fraction). */
export const pausedHeader = 'tidegate-paused-ms'

/** Code of a failure and its HTTP status. */
export const guestFailures = {
  unauthorized: 401,
  not_found: 404,
  invalid_request: 400,
  too_large: 413,
  no_hook: 409,
  identity_refused: 409,
  hook_failed: 500,
} as const
export type GuestFailureCode = keyof typeof guestFailures

export interface GuestFailure {
  readonly error: { readonly code: GuestFailureCode; readonly message: string }
}

export interface PingAnswer {
  readonly protocol: number
  readonly pid: number
  /** Which hooks the application has registered. */
  readonly hooks: { readonly hand_over: boolean; readonly take_back: boolean; readonly identified: boolean }
  /** Who the guest believes it is; null until the first `identify` and after a `take_back`. */
  readonly identity: { readonly instance_id: string; readonly incarnation: string } | null
}

export interface IdentifyRequest {
  readonly instance_id: string
  readonly incarnation: string
  readonly cluster: string
  readonly reason: 'created' | 'cloned'
  /** At least `entropyBytesMin` random bytes, base64. */
  readonly entropy: string
  /** Milliseconds since the Unix epoch. */
  readonly wall_clock_ms: number
  /** Of a clone, where it is known: whose copy it is, and as of when (milliseconds since the epoch). */
  readonly cloned_from?: { readonly instance_id: string; readonly at_ms: number }
}

export interface IdentifyAnswer {
  readonly instance_id: string
  readonly incarnation: string
  readonly application: 'acknowledged' | 'no_hook'
  /** What the agent could not mend of a clone's duplicated identity, in people's words; empty when all was mended. */
  readonly warnings: readonly string[]
}

/** In a VM to which something was plugged, or from which something is to be pulled. */
export interface ResizeRequest {
  /** How many processors are to be used; 0: as many as now, for asking. */
  readonly cpus: number
  /** What the system is to have at least before the answer: what was plugged in may be found a moment later. */
  readonly memory_bytes_min: number
}

export interface ResizeAnswer {
  /** What is used now, as the system itself counts it. */
  readonly cpus: number
  readonly memory_bytes: number
  readonly warnings: readonly string[]
}

/** What the application may use, for its own sizes: said before something leaves the machine and after something came. */
export interface LimitsRequest {
  readonly cpus: number
  readonly memory_bytes: number
  readonly disk_bytes: number
}

export interface LimitsAnswer {
  readonly application: 'acknowledged' | 'no_hook'
  /** What the hook threw. */
  readonly warnings: readonly string[]
}

export interface TakeBackAnswer {
  readonly bytes: number
}
