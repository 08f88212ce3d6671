/** Tells an instance who it is, and believes it only when it says just that back: its name, and the life that it was given. */
import { TidegateError } from '../errors.ts'
import type { Identity, IdentityAck } from '../hypervisor/driver.ts'
import type { World } from './world.ts'

/** Throws `identity_refused` when somebody else answered, or one that still lives an earlier life. */
export async function introduce(
  { reality }: World,
  node: string,
  identity: Identity,
  signal: AbortSignal,
): Promise<IdentityAck> {
  const { instanceId: name, incarnation } = identity
  const ack = await reality.driver(node).identify(name, identity, signal)
  if (ack.instanceId === name && ack.incarnation === incarnation) return ack
  const who = ack.instanceId === name ? 'as in another life' : `as ${ack.instanceId}`
  throw new TidegateError('identity_refused', `instance ${name} answered ${who}`)
}
