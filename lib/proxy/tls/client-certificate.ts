/** Who a client is by its verified certificate, as the value of `X-Forwarded-Client-Cert` for the backend. @pure */
import type { X509Certificate } from 'node:crypto'

/** Longer, and the subject is left out: half a name could be somebody else's. */
const subjectCharsMax = 1024
const uriCharsMax = 2048

/**
 * `Hash=<sha256, hex>;Subject="CN=alice,O=Acme";URI=spiffe://…`: the pairs that Envoy's header of this name has, the subject as
 * in RFC 4514 (most specific first), in ASCII.
 */
export function clientCertificateValue(certificate: X509Certificate): string {
  const hash = certificate.fingerprint256.replaceAll(':', '').toLowerCase()
  const subject = subjectText(certificate.subject)
  const uri = firstUri(certificate.subjectAltName)
  const parts = [`Hash=${hash}`]
  // Escaped by Node, as RFC 4514 asks; a quote that is not would end the value early.
  if (subject.length <= subjectCharsMax && /^(?:[^"\\]|\\.)*$/.test(subject))
    parts.push(`Subject="${subject}"`)
  if (uri !== null) parts.push(`URI=${uri}`)
  return parts.join(';')
}

/** Node gives a line for each part, the least specific first, with special characters escaped. */
function subjectText(lines: string | undefined): string {
  const parts = (lines ?? '').split('\n').filter(line => line !== '')
  return ascii(parts.toReversed().join(','))
}

/** A URI that does not stand for itself between `;` and `,` is not passed on. */
function firstUri(alternatives: string | undefined): string | null {
  const uri = /(?:^|, )URI:([^",;\s]+)(?=, |$)/.exec(alternatives ?? '')?.[1]
  return uri !== undefined && uri.length <= uriCharsMax && /^[!-~]+$/.test(uri) ? uri : null
}

/** Bytes of a field are ASCII and printable: others as RFC 4514 writes them, `\C3\A9`. */
function ascii(text: string): string {
  return text.replace(/[^ -~]/gu, character =>
    [...Buffer.from(character)].map(byte => `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  )
}
