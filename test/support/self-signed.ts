/** A certificate for 127.0.0.1 that signs itself, fresh and in memory. */
import { execFileSync } from 'node:child_process'

export interface SelfSigned {
  readonly cert: string
  readonly key: string
}

export function selfSigned(): SelfSigned {
  const options =
    '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test -keyout - -out -'
  const name = ['-addext', 'subjectAltName=IP:127.0.0.1']
  const text = execFileSync('openssl', ['req', ...options.split(' '), ...name], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [key] = /-----BEGIN PRIVATE KEY-----[\s\S]*?-----END PRIVATE KEY-----\n/.exec(text)!
  const [cert] = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n/.exec(text)!
  return { cert, key }
}
