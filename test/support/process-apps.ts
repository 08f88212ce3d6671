/** Small applications for the process driver's own tests, written to a folder as they are needed. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { systemClock } from '../../lib/clock.ts'
import { createProcessDriver } from '../../lib/hypervisor/process/driver.ts'
import { silentLog } from '../../lib/log.ts'
import { Bench } from './driver-bench.ts'

const resources = { cpus: 1, memoryBytes: 64 * 2 ** 20, diskBytes: 64 * 2 ** 20 }
const guestLibrary = join(import.meta.dirname, '../../lib/guest/index.ts')

/** Listens on PORT; `guest` is imported and `write(text)` puts text into the file `said` beside the application. */
const preamble = `
  import { createServer } from 'node:http'
  import { appendFileSync, existsSync, readFileSync } from 'node:fs'
  import { spawn } from 'node:child_process'
  import { guest } from ${JSON.stringify(guestLibrary)}
  const write = text => appendFileSync(import.meta.dirname + '/said', text + '\\n')
  const serve = () => createServer((_, response) => response.end('{}')).listen(process.env.PORT, process.env.HOST)
`

/** A bench whose application is `code`, in a folder of its own that is also the node's. */
export function benchOf(t: Test, code: string, options: Record<string, unknown> = {}): Bench {
  const template: Record<string, unknown> = {}
  const bench = new Bench(t, {
    makeDriver: directory =>
      createProcessDriver(
        { id: 'local', driver: 'process', zone: 'a', capacity: resources, directory, options },
        { clock: systemClock, log: silentLog },
      ),
    template,
    resources,
    port: 8080,
    timeoutMs: 20_000,
  })
  const app = join(bench.directory, 'app.mjs')
  writeFileSync(app, preamble + code)
  template.command = ['node', app]
  return bench
}
