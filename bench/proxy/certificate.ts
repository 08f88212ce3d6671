/** A certificate for localhost that lives as long as the run: ECDSA P-256, signed by itself. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ask } from './children.ts'
import type { Bench } from './row.ts'

export function makeCertificate(scratch: string): Bench['certificate'] {
  const cert = join(scratch, 'bench.crt')
  const key = join(scratch, 'bench.key')
  const bundle = join(scratch, 'bench.pem')
  const said = ask(
    'openssl',
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-keyout', key, '-out', cert],
  )
  try {
    // HAProxy reads both from one file.
    writeFileSync(bundle, readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'))
  } catch {
    throw new Error(`openssl made no certificate: ${said.trim() || 'is it installed?'}`)
  }
  return { cert, key, bundle }
}
