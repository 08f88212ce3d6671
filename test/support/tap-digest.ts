/**
 * Reads the TAP of many files as it comes: one line for each file that passed, the failed parts of each that did not, and a count
 * of assertions. It knows TAP by indentation only: a `# Subtest` opens a block, a test point further out closes it.
 */
export class TapDigest {
  passed = 0
  failed = 0
  readonly #say: (line: string) => void
  /** Lines of the file that is being told. */
  #block: string[] = []
  #deepest = 0

  constructor(say: (line: string) => void) {
    this.#say = say
  }

  line(line: string): void {
    this.#block.push(line)
    const point = /^( *)(not )?ok \d+/.exec(line)
    if (!point) return
    const depth = point[1]!.length
    // A point that closes a block sums up what was counted inside it.
    const closes = depth < this.#deepest
    this.#deepest = depth
    if (!closes && point[2]) this.failed++
    else if (!closes) this.passed++
    if (depth === 0) this.#tell(line, point[2] !== undefined)
  }

  #tell(line: string, failed: boolean): void {
    const [, name, ms] = /^(?:not )?ok \d+ - (.*?)(?: # time=([\d.]+)ms.*)?$/.exec(line) ?? []
    const took = ms === undefined ? '' : ` ${(Number(ms) / 1000).toFixed(1)} s`
    this.#say(`${failed ? 'FAILED' : 'ok    '} ${name}${took}`)
    if (failed) for (const told of faults(this.#block)) this.#say(told)
    this.#block = []
    this.#deepest = 0
  }
}

/** The failed points with their diagnostics, each to the next point of any kind. */
function faults(block: readonly string[]): readonly string[] {
  let within = false
  return block.filter(line => {
    if (/^ *not ok \d+/.test(line)) within = true
    else if (/^ *(ok \d+|# Subtest|\d+\.\.\d+)/.test(line)) within = false
    return within
  })
}
