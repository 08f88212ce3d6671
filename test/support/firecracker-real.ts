/** The real Firecracker, where this machine has it and can boot VMs with it. */
import { spawnSync } from 'node:child_process'
import { tryKernel } from '../../lib/hypervisor/firecracker/binary.ts'
import { openNamespaces } from '../../lib/hypervisor/network/namespace.ts'
import { parsePool, poolDefault } from '../../lib/hypervisor/network/plan.ts'
import { unpackedVmImage } from './vm-image.ts'

const binary = 'firecracker'

type Real = { readonly template: Record<string, unknown> } | { readonly missing: string }

export async function realFirecracker(): Promise<Real> {
  if (spawnSync(binary, ['--version']).status !== 0) return { missing: 'it is not on the PATH' }
  const [network] = await openNamespaces(parsePool(poolDefault, 'pool')).check()
  if (network?.ok !== true) return { missing: network?.detail ?? 'there are no network namespaces' }
  const template = await unpackedVmImage()
  const trouble = await tryKernel(binary, template.kernel)
  return trouble === null ? { template: { ...template } } : { missing: trouble }
}
