/**
 * A controller is killed while its hypervisor saves a VM: the source stands still, and the snapshot is half-written. Under the
 * hypervisors that save only what stands still, on their doubles.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import { resumePaused } from '../../../lib/scaling/recovery/membership.ts'
import { Reality } from '../../../lib/scaling/recovery/reality.ts'
import type { World } from '../../../lib/scaling/world.ts'
import { doubleBench } from '../../support/cloud-hypervisor/bench.ts'
import { Bench, owner } from '../../support/driver-bench.ts'
import {
  doubleBinary,
  doubleDriver,
  doubleResources,
  doubleTemplate,
} from '../../support/firecracker-node.ts'
import { keptLog } from '../../support/observation.ts'
import { until } from '../../support/wait.ts'

const name = 'web-op1-1'
const snapshot = 'web-op1-s'

interface Subject {
  readonly bench: Bench
  readonly binary: string
  /** Whether the VM stands still and is being saved. */
  readonly saving: (pid: number) => boolean
  readonly letGo: (pid: number) => void
}

function scratch(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-left-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function cloudHypervisor(t: Test): Subject {
  const release = join(scratch(t), 'go')
  const { bench, binary } = doubleBench(t, { snapshotWritesUntil: release })
  const events = () => readFileSync(join(bench.directory, 'instances', name, 'events.json'), 'utf8')
  return {
    ...{ bench, binary },
    saving: () => events().includes('snapshotted'),
    letGo: () => writeFileSync(release, ''),
  }
}

function firecracker(t: Test): Subject {
  const binary = doubleBinary(scratch(t), { faults: { 'PUT /snapshot/create': 'hang' } })
  const bench = new Bench(t, {
    makeDriver: directory => doubleDriver(directory, binary),
    ...{ template: doubleTemplate, resources: doubleResources, port: 8080, timeoutMs: 60_000 },
  })
  const stopped = (pid: number) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')
  }
  return { bench, binary, saving: stopped, letGo: pid => void process.kill(pid, 'SIGCONT') }
}

for (const [kind, make] of Object.entries({ cloud_hypervisor: cloudHypervisor, firecracker })) {
  t.test(
    `${kind}: what a dead controller left paused runs again, and nothing is cloned from its half`,
    async t => {
      const { bench, binary, saving, letGo } = make(t)
      const { driver, directory } = bench
      const { pid } = await bench.running(name)
      const controller = join(import.meta.dirname, '../../support/dying-controller.ts')
      const args = [controller, kind, directory, binary, name, snapshot]
      const child = spawn(process.execPath, args, { stdio: 'inherit' })
      t.teardown(() => child.kill('SIGKILL'))
      await until('it is being saved', () => saving(pid!))
      child.kill('SIGKILL')
      await once(child, 'exit')
      letGo(pid!)

      const clone = driver.clone(bench.cloneSpec('web-op1-2', snapshot), bench.signal())
      await t.rejects(clone, { code: 'snapshot_failed', message: /is not complete; take another/ })
      t.equal(await bench.held('web-op1-2'), undefined)
      const paused = async () => (await bench.held(name))?.state === 'paused'
      await until('its hypervisor is done', paused)

      const { log, said } = keptLog()
      const capacity = doubleResources
      const config = {
        id: 'local',
        driver: kind as 'firecracker',
        zone: 'a',
        capacity,
        directory,
        options: {},
      }
      const reality = new Reality([{ config, driver }], systemClock)
      const world = { clock: systemClock, installation: owner.installation, reality, log } as unknown as World
      const held = new Map([['local', await driver.inspect()]])
      await resumePaused(world, held, new Set())
      t.equal((await bench.held(name))?.state, 'paused', 'one that the store does not know is left alone')
      await resumePaused(world, held, new Set([name]))
      t.match(said, [
        { level: 'warn', facts: { node: 'local', instance: name }, message: /left paused; resumed/ },
      ])
      const instance = await bench.held(name)
      t.equal(instance?.state, 'running')
      await bench.answers(instance!)

      t.match((await driver.inspect()).snapshots, [{ name: snapshot, complete: false }])
      await driver.destroy(snapshot)
      t.same(bench.files('snapshots'), [], 'what is left of it can be removed')
    },
  )
}
