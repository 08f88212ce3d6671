/**
 * A hypervisor that was asked and did not answer, over HTTP or its monitor. Which of three it was decides what may be done next: @pure
 *
 *   `still_working`  somebody holds the socket and the deadline passed: what was asked may yet be done, so do not repeat it
 *   `gone`           there is no socket, or nobody listens on it: nothing was sent
 *   `cannot_tell`    all else (cut off, nonsense, too large, no permission): look at the process before deciding anything
 *
 * `sent` is false when the request surely did not leave.
 */
import { TidegateError } from '../errors.ts'

export type Silence = 'still_working' | 'gone' | 'cannot_tell'

/** There was no answer. `step_timeout` when the other side is still working, else `hypervisor_unreachable`. */
export class NoAnswer extends TidegateError {
  readonly silence: Silence
  readonly sent: boolean

  constructor(silence: Silence, sent: boolean, message: string, cause?: unknown) {
    const code = silence === 'still_working' ? 'step_timeout' : 'hypervisor_unreachable'
    super(code, message, { details: { silence, sent }, ...(cause === undefined ? {} : { cause }) })
    this.silence = silence
    this.sent = sent
  }
}
