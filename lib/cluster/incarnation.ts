/** The incarnation of a static backend. @pure (An instance's is random and made with it.) */
import { createHash } from 'node:crypto'

/**
 * The same for the same place in the config, so that sessions survive a restart, and another when the address changes,
 * so that they do not follow a name to a different machine. 22 characters, base64url.
 */
export function staticIncarnation(cluster: string, backend: string, host: string, port: number): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([cluster, backend, host, port]))
    .digest()
  return digest.subarray(0, 16).toString('base64url')
}
