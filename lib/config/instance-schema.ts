/** The keys of `clusters[].instance`: how an instance is made, and what its clones are copies of. @pure */
import { strict, z } from '../schema.ts'
import { driverKinds, type InstanceConfig } from './config.ts'
import { choice, ratio, requestPath, size, whole } from './fields.ts'
import { statuses } from './health-schema.ts'

export const cpusMax = 1024
const warmRequestsMax = 32
const MiB = 1024 ** 2
const TiB = 1024 ** 4

/** What an instance has where nothing else is said. */
export const instanceDefaults = { cpus: 1, memory: '384MiB', disk: '1GiB' } as const

export const resources = (defaults: { cpus: number; memory: string; disk: string }) =>
  strict({
    cpus: ratio(0.1, cpusMax).prefault(defaults.cpus),
    memory: size(16 * MiB, 64 * TiB).prefault(defaults.memory),
    disk: size(0, 1024 * TiB).prefault(defaults.disk),
  }).transform(value => ({ cpus: value.cpus, memoryBytes: value.memory, diskBytes: value.disk }))

const warmRequest = strict({
  method: choice(['GET', 'HEAD', 'POST']).prefault('GET'),
  path: requestPath(),
  expect_status: statuses().min(1).prefault(['200-399']),
}).transform(({ method, path, expect_status }) => ({ method, path, expectStatus: expect_status }))

/** A live clone has its source's sessions, and its secrets, connections and leases: nobody gets that without asking for it. */
export const instance = strict({
  driver: choice(driverKinds),
  port: whole(1, 65_535, 'port').prefault(8080),
  resources: resources(instanceDefaults).prefault({}),
  clone_from: choice(['live', 'golden']).prefault('golden'),
  warm_requests: z.array(warmRequest).max(warmRequestsMax).prefault([]),
  template: z.record(z.string(), z.unknown()).prefault({}),
}).transform(
  ({ clone_from, warm_requests, ...value }): InstanceConfig => ({
    ...value,
    cloneFrom: clone_from,
    warmRequests: warm_requests,
  }),
)
