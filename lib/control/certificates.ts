/** The certificates that are in use, as the outside sees them. @pure */
import type { CertificateInUse } from '../certificates.ts'
import type { CertificateView } from '../views.ts'

export function certificateView(held: CertificateInUse): CertificateView {
  return {
    used_for: held.use,
    names: held.names,
    not_after: new Date(held.endsAtMs).toISOString(),
    file: held.file,
    loaded_at: new Date(held.loadedAtMs).toISOString(),
    fingerprint_sha256: held.fingerprint,
  }
}
