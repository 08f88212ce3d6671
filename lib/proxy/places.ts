/**
 * The places that one exchange holds in its cluster's circuit: one, two while it is hedged, none where the cluster has no limits.
 * Whatever happens they are given back once, to the circuit that they were taken from.
 */
import type { Circuit, CircuitClient, CircuitRefusal, Waiting } from './resilience/circuit.ts'
import type { Tunnel } from './tunnel.ts'

export class Places {
  #circuit: Circuit | null = null
  #held = 0
  #waiting: Waiting | null = null
  /** As long as it is not known whether the wait is over: what to wait on with. */
  #called: Waiting | null = null

  /** `waits`: the client is told later. */
  enter(circuit: Circuit | null, client: CircuitClient): 'entered' | 'waits' | CircuitRefusal {
    this.#circuit = circuit
    if (circuit === null) return 'entered'
    return this.another() ? 'entered' : this.#waits(circuit.wait(client))
  }

  /** Every member that would do is full: gives its place back, and waits for one of them. */
  waitForMember(client: CircuitClient): 'waits' | CircuitRefusal {
    if (this.#circuit === null || this.#held !== 1) return 'circuit_open'
    this.#held = 0
    return this.#waits(this.#circuit.waitForMember(client))
  }

  /** A place more, if there is one. */
  another(): boolean {
    if (this.#circuit === null) return true
    if (!this.#circuit.enter()) return false
    this.#held++
    return true
  }

  /** The circuit has a place for it; unless `waitOn` follows, the wait is over. */
  admitted(): void {
    this.#called = this.#waiting
    this.#waiting = null
    this.#held++
  }

  /** Still no member with room: the circuit takes the place back. */
  waitOn(): void {
    this.#waiting = this.#called
    this.#held--
  }

  /** It waited too long. */
  refused(): void {
    this.#waiting = null
  }

  leaveAllButOne(): void {
    while (this.#held > 1) this.#leaveOne()
  }

  leave(): void {
    if (this.#waiting !== null) this.#circuit!.withdraw(this.#waiting)
    this.#waiting = null
    while (this.#held > 0) this.#leaveOne()
  }

  /** It goes on as a tunnel, for as long as that lasts. */
  becomeTunnel(tunnel: Tunnel): void {
    const circuit = this.#circuit
    if (circuit === null || this.#held === 0) return
    this.#held--
    circuit.becomeTunnel()
    tunnel.once('close', () => circuit.leaveTunnel())
  }

  #leaveOne(): void {
    this.#held--
    this.#circuit!.leave()
  }

  #waits(place: Waiting | CircuitRefusal): 'waits' | CircuitRefusal {
    if (typeof place === 'string') return place
    this.#waiting = place
    return 'waits'
  }
}
