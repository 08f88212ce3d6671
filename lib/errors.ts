/**
 * The error table. @pure
 *
 * Every failure that a person or a client can meet has one row here: its code (what the API and logs say), the HTTP
 * status it becomes, whose fault it is, and whether the act may be repeated. Errors are rendered only at the edges
 * (`proxy/reply` for traffic, `routes/` for the admin API, `cli/` for the terminal).
 *
 * `retry`: `never` the same act fails again · `safe` repeat freely · `unsent` repeat only if nothing reached the other side.
 */
export type ErrorSource = 'client' | 'upstream' | 'hypervisor' | 'operator' | 'internal'
export type Retry = 'never' | 'safe' | 'unsent'

interface Row {
  readonly status: number
  readonly source: ErrorSource
  readonly retry: Retry
}

export const errorTable = {
  // Traffic: what a client of the front door may meet.
  bad_request: { status: 400, source: 'client', retry: 'never' },
  request_timeout: { status: 408, source: 'client', retry: 'never' },
  payload_too_large: { status: 413, source: 'client', retry: 'never' },
  expectation_failed: { status: 417, source: 'client', retry: 'never' },
  headers_too_large: { status: 431, source: 'client', retry: 'never' },
  upgrade_unsupported: { status: 501, source: 'client', retry: 'never' },
  client_closed: { status: 499, source: 'client', retry: 'never' },
  no_route: { status: 404, source: 'client', retry: 'never' },
  rate_limited: { status: 429, source: 'client', retry: 'safe' },
  no_backend: { status: 503, source: 'upstream', retry: 'safe' },
  circuit_open: { status: 503, source: 'upstream', retry: 'safe' },
  queue_full: { status: 503, source: 'upstream', retry: 'safe' },
  queue_timeout: { status: 503, source: 'upstream', retry: 'safe' },
  upstream_connect_failed: { status: 502, source: 'upstream', retry: 'unsent' },
  upstream_tls_failed: { status: 502, source: 'upstream', retry: 'unsent' },
  upstream_connect_timeout: { status: 504, source: 'upstream', retry: 'unsent' },
  upstream_header_timeout: { status: 504, source: 'upstream', retry: 'never' },
  upstream_idle_timeout: { status: 504, source: 'upstream', retry: 'never' },
  upstream_reset: { status: 502, source: 'upstream', retry: 'unsent' },
  upstream_bad_response: { status: 502, source: 'upstream', retry: 'never' },
  overloaded: { status: 503, source: 'internal', retry: 'safe' },
  shutting_down: { status: 503, source: 'operator', retry: 'safe' },

  // Admin API and operations.
  invalid_config: { status: 400, source: 'operator', retry: 'never' },
  invalid_request: { status: 400, source: 'operator', retry: 'never' },
  unauthorized: { status: 401, source: 'operator', retry: 'never' },
  forbidden: { status: 403, source: 'operator', retry: 'never' },
  unknown_endpoint: { status: 404, source: 'operator', retry: 'never' },
  method_not_allowed: { status: 405, source: 'operator', retry: 'never' },
  unsupported_media_type: { status: 415, source: 'operator', retry: 'never' },
  too_many_clients: { status: 503, source: 'operator', retry: 'safe' },
  upgrade_required: { status: 426, source: 'operator', retry: 'never' },
  unknown_cluster: { status: 404, source: 'operator', retry: 'never' },
  unknown_backend: { status: 404, source: 'operator', retry: 'never' },
  unknown_instance: { status: 404, source: 'operator', retry: 'never' },
  unknown_node: { status: 404, source: 'operator', retry: 'never' },
  unknown_operation: { status: 404, source: 'operator', retry: 'never' },
  target_out_of_bounds: { status: 400, source: 'operator', retry: 'never' },
  cooling_down: { status: 409, source: 'operator', retry: 'safe' },
  instances_protected: { status: 409, source: 'operator', retry: 'never' },
  checkpoint_failed: { status: 502, source: 'upstream', retry: 'never' },
  rollback_impossible: { status: 409, source: 'operator', retry: 'never' },
  load_returned: { status: 409, source: 'operator', retry: 'safe' },
  not_scalable: { status: 400, source: 'operator', retry: 'never' },
  operation_running: { status: 409, source: 'operator', retry: 'safe' },
  backend_exists: { status: 409, source: 'operator', retry: 'never' },
  reload_refused: { status: 409, source: 'operator', retry: 'never' },
  backend_is_instance: { status: 409, source: 'operator', retry: 'never' },
  operation_failed: { status: 500, source: 'internal', retry: 'safe' },
  operation_not_cancellable: { status: 409, source: 'operator', retry: 'never' },
  operation_interrupted: { status: 500, source: 'internal', retry: 'safe' },
  operation_damaged: { status: 503, source: 'operator', retry: 'safe' },
  operation_stuck: { status: 503, source: 'hypervisor', retry: 'safe' },
  operation_not_stuck: { status: 409, source: 'operator', retry: 'never' },
  operation_cancelled: { status: 409, source: 'operator', retry: 'safe' },
  wait_timeout: { status: 504, source: 'operator', retry: 'safe' },
  no_capacity: { status: 503, source: 'hypervisor', retry: 'safe' },
  no_clone_source: { status: 503, source: 'hypervisor', retry: 'safe' },
  store_unavailable: { status: 503, source: 'internal', retry: 'safe' },
  port_in_use: { status: 500, source: 'operator', retry: 'never' },
  already_running: { status: 409, source: 'operator', retry: 'never' },

  // Hypervisors.
  template_invalid: { status: 400, source: 'operator', retry: 'never' },
  image_missing: { status: 400, source: 'operator', retry: 'never' },
  network_unavailable: { status: 400, source: 'operator', retry: 'never' },
  hypervisor_unreachable: { status: 503, source: 'hypervisor', retry: 'safe' },
  hypervisor_failed: { status: 500, source: 'hypervisor', retry: 'safe' },
  hypervisor_unsupported: { status: 400, source: 'operator', retry: 'never' },
  instance_died: { status: 500, source: 'hypervisor', retry: 'safe' },
  instance_unhealthy: { status: 500, source: 'hypervisor', retry: 'safe' },
  resize_unsupported: { status: 400, source: 'operator', retry: 'never' },
  pause_unsupported: { status: 400, source: 'operator', retry: 'never' },
  snapshot_failed: { status: 500, source: 'hypervisor', retry: 'safe' },
  unknown_snapshot: { status: 404, source: 'operator', retry: 'never' },
  snapshot_in_use: { status: 409, source: 'operator', retry: 'safe' },
  snapshot_quota: { status: 503, source: 'operator', retry: 'safe' },
  snapshot_unusable: { status: 500, source: 'hypervisor', retry: 'never' },
  disk_full: { status: 503, source: 'hypervisor', retry: 'safe' },
  guest_unreachable: { status: 500, source: 'hypervisor', retry: 'safe' },
  identity_refused: { status: 500, source: 'hypervisor', retry: 'safe' },
  step_timeout: { status: 504, source: 'hypervisor', retry: 'safe' },

  internal: { status: 500, source: 'internal', retry: 'never' },
} as const satisfies Record<string, Row>

export type ErrorCode = keyof typeof errorTable

/** An error with a row in the table. `message` is for people: it names what was wrong and, where possible, the fix. */
export class TidegateError extends Error {
  readonly code: ErrorCode
  /** Machine-readable facts: ids, counts, paths. Plain JSON. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'TidegateError'
    this.code = code
    this.details = options.details ?? {}
  }

  get status(): number {
    return errorTable[this.code].status
  }
  get source(): ErrorSource {
    return errorTable[this.code].source
  }
  get retry(): Retry {
    return errorTable[this.code].retry
  }
}

/** Any thrown value as a row of the table; what is not ours already becomes `fallback`, with the original as its cause. */
export function toTidegateError(error: unknown, fallback: ErrorCode = 'internal'): TidegateError {
  if (error instanceof TidegateError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new TidegateError(fallback, message, { cause: error })
}

/** The JSON body of every error answer of the admin API. */
export function errorBody(error: TidegateError) {
  return { error: { code: error.code, message: error.message, details: error.details } }
}
