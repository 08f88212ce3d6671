/**
 * Keeps web pages away from an admin API that asks for no password because only this machine reaches it. @pure
 * A page in a browser on this machine reaches it too: by posting across origins, or by pointing its own name here (DNS rebinding).
 */
import type { IncomingHttpHeaders } from 'node:http'
import { TidegateError } from '../lib/errors.ts'
import { isLoopback } from '../lib/units.ts'

/** On a loopback address only a loopback `Host` is believed: any other name was pointed here by somebody else. */
export function guardHost(headers: IncomingHttpHeaders, listeningOn: string): void {
  if (!isLoopback(listeningOn)) return
  const host = hostName(headers.host ?? '')
  if (host !== null && (isLoopback(host) || host === listeningOn)) return
  throw new TidegateError(
    'forbidden',
    `The Host header \`${(headers.host ?? '').slice(0, 100)}\` is not this admin address; use http://127.0.0.1 or http://localhost.`,
  )
}

/** A browser says where a request comes from; programs say nothing and may pass. */
export function guardOrigin(headers: IncomingHttpHeaders): void {
  const site = headers['sec-fetch-site']
  const origin = headers.origin
  const foreignSite = site !== undefined && site !== 'same-origin' && site !== 'none'
  const foreignOrigin = origin !== undefined && hostOf(origin) !== headers.host?.toLowerCase()
  if (!foreignSite && !foreignOrigin) return
  const from = (origin ?? String(site)).slice(0, 100)
  throw new TidegateError('forbidden', `A page of another origin (${from}) may not use the admin API.`)
}

function hostName(host: string): string | null {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/.exec(host)
  return (match?.[1] ?? match?.[2])?.toLowerCase() ?? null
}

const hostOf = (origin: string): string | null => (URL.canParse(origin) ? new URL(origin).host : null)
