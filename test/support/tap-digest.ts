/**
 * Reads the TAP of one test file as it comes: counts its assertions and keeps its failed parts. It knows TAP by indentation only:
 * a `# Subtest` opens a block, a test point further out closes it.
 */
export class TapDigest {
  passed = 0
  failed = 0
  /** It came to its end: it said how many tests it should have had. Who dies before that has not. */
  ended = false
  /** What it could not do on this machine, and what no setup would let it do, in its words (`left-out.ts`). */
  readonly leftOut: string[] = []
  readonly notHere: string[] = []
  readonly #lines: string[] = []
  #deepest = 0

  line(line: string): void {
    this.#lines.push(line)
    if (/^1\.\.\d+/.test(line)) this.ended = true
    const said = /^ *# (LEFT OUT|NOT HERE): (.+)$/.exec(line)
    if (said) (said[1] === 'LEFT OUT' ? this.leftOut : this.notHere).push(said[2]!)
    const point = /^( *)(not )?ok \d+/.exec(line)
    if (!point) return
    const depth = point[1]!.length
    // A point that closes a block sums up what was counted inside it.
    const closes = depth < this.#deepest
    this.#deepest = depth
    if (closes) return
    if (point[2]) this.failed++
    else this.passed++
  }

  /** The failed points with their diagnostics, each to the next point of any kind. */
  faults(): readonly string[] {
    let within = false
    return this.#lines.filter(line => {
      if (/^ *not ok \d+/.test(line)) within = true
      else if (/^ *(ok \d+|# Subtest|\d+\.\.\d+)/.test(line)) within = false
      return within
    })
  }
}
