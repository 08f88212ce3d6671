/** Every bound of the traffic side that is not configured per cluster, with its unit. @pure */

/** Request head, all fields together; beyond it 431. */
export const requestHeadBytesMax = 16 * 1024
/** Fields in a request's head; beyond it 400. */
export const requestFieldsMax = 200
/** From the first byte of a connection or of a later request to the end of its head; beyond it 408. */
export const requestHeadTimeoutMs = 10_000
/** From the connection to the end of a required PROXY header. */
export const proxyHeaderTimeoutMs = 3_000
/** How often the two times above and below are looked at. */
export const connectionsCheckMs = 1_000
/** Connections above `overload.max_connections` that are told so at the same time; the others are closed without a word. */
export const turnedAwayMax = 256
/** A client connection with no request on it. */
export const clientKeepAliveMs = 65_000
/** A pooled backend connection with no request on it; shorter than what common servers allow. */
export const pooledIdleMs = 55_000
/** So long before a backend closes an idle connection by its own word nothing is sent on it any more: the two would cross. */
export const pooledMarginMs = 1_000
export const connectionsPerMemberMax = 1_024
export const pooledPerMemberMax = 256
/** Further members asked after the first failed. */
export const retriesMax = 2
/** Deadlines of exchanges and tunnels are looked at this often: no exchange has a timer of its own. */
export const deadlineStepMs = 100
/** Bytes a client may send after its upgrade request and before the answer; more are left in the kernel. */
export const earlyBytesMax = 64 * 1024
/** How long the other side may take to answer a Close frame or a half-closed tunnel. */
export const closeHandshakeMs = 2_000
/** How long the rest of an unwanted request body is read and thrown away, so that the answer is not lost to a reset. */
export const lingerMs = 1_000
/** A backend's answer head; beyond it 502. */
export const responseHeadBytesMax = 64 * 1024
/** Interim answers (1xx) before one final answer. */
export const interimAnswersMax = 32
/** Requests that wait for one of a member's connections, on each thread. */
export const waitingPerMemberMax = 1_024
/** What of later requests is taken before the answer to this one is out; more is left in the kernel. */
export const pipelinedBytesMax = 64 * 1024
/** A client that has closed its half may still want its answer: this long its head is waited for. */
export const halfClosedMs = 2_000
/** And this long it is believed to be there while its answer does not move. */
export const halfClosedSilenceMs = 1_000
/** A client that does not read the end of an answer. */
export const clientReadIdleMs = 60_000
