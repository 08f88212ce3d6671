/** The double of the simulations is held against what it stands for: where no fault is asked of it, it is a driver like the others. */
import { FakeGrounds } from '../../support/fake-ground.ts'
import { driverContract } from './suite.ts'

const MiB = 2 ** 20
const grounds = new FakeGrounds()

driverContract('the double in memory', {
  makeDriver: directory => grounds.driver(directory),
  ground: directory => grounds.ground(directory),
  template: { command: ['none'] },
  resources: { cpus: 1, memoryBytes: 64 * MiB, diskBytes: 64 * MiB },
  port: 8080,
  timeoutMs: 60_000,
})
