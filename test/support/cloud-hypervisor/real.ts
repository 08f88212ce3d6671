/** The real program, where this machine has it and can boot VMs with it. */
import { spawnSync } from 'node:child_process'
import { systemClock } from '../../../lib/clock.ts'
import { binaryVersion, bootTrouble } from '../../../lib/hypervisor/cloud-hypervisor/boot-trial.ts'
import { openNamespaces } from '../../../lib/hypervisor/network/namespace.ts'
import { parsePool, poolDefault } from '../../../lib/hypervisor/network/plan.ts'
import { vmImage } from '../vm-image.ts'

const binary = 'cloud-hypervisor'

type Real = { readonly template: Record<string, unknown> } | { readonly missing: string }

export async function realCloudHypervisor(): Promise<Real> {
  if (spawnSync(binary, ['--version']).status !== 0) return { missing: 'it is not on the PATH' }
  const [network] = await openNamespaces(parsePool(poolDefault, 'pool')).check()
  if (network?.ok !== true) return { missing: network?.detail ?? 'there are no network namespaces' }
  const template = await vmImage()
  const trouble = await bootTrouble(
    { binary, version: await binaryVersion(binary), kernel: template.kernel },
    systemClock,
  )
  return trouble === null ? { template } : { missing: trouble }
}
