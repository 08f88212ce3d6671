/** All endpoints of the admin API, in the order in which the documents list them. */
import { backendEndpoints } from './backends.ts'
import { certificateEndpoints } from './certificates.ts'
import { clusterEndpoints } from './clusters.ts'
import { deploymentEndpoints } from './deployments.ts'
import type { Endpoint } from './endpoint.ts'
import { eventEndpoints } from './events.ts'
import { healthEndpoints } from './health.ts'
import { historyEndpoints } from './history.ts'
import { metricsEndpoints } from './metrics.ts'
import { nodeEndpoints } from './nodes.ts'
import { openapiEndpoint } from './openapi.ts'
import { operationEndpoints } from './operations.ts'
import { policyEndpoints } from './policy.ts'
import { reloadEndpoints } from './reload.ts'
import { scaleEndpoints } from './scale.ts'
import { snapshotEndpoints } from './snapshots.ts'

const described: readonly Endpoint[] = [
  ...healthEndpoints,
  ...metricsEndpoints,
  ...clusterEndpoints,
  ...historyEndpoints,
  ...scaleEndpoints,
  ...deploymentEndpoints,
  ...policyEndpoints,
  ...operationEndpoints,
  ...backendEndpoints,
  ...nodeEndpoints,
  ...snapshotEndpoints,
  ...certificateEndpoints,
  ...reloadEndpoints,
  ...eventEndpoints,
]

export const endpoints: readonly Endpoint[] = [...described, openapiEndpoint(described)]
