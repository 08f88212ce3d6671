/** Who takes part: the peers that were asked for, and Tidegate as far as this build can. */

import type { Lane } from '../rounds.ts'
import type { Bench } from '../row.ts'
import { caddy } from '../subjects/caddy.ts'
import { haproxy } from '../subjects/haproxy.ts'
import { nginx } from '../subjects/nginx.ts'
import { fastifyHttpProxy, httpProxy3, httpxy } from '../subjects/node-peers.ts'
import type { Order, Subject } from '../subjects/subject.ts'
import { type TidegateOptions, tidegate, unavailable } from '../subjects/tidegate.ts'

export const everyone: readonly Subject[] = [haproxy, nginx, caddy, httpProxy3, fastifyHttpProxy, httpxy]

export function peersAsked(bench: Bench, peers: readonly Subject[]): readonly Subject[] {
  const { subjects } = bench.settings
  return subjects.length === 0 ? peers : peers.filter(({ name }) => subjects.includes(name))
}

export async function tidegateLane(
  bench: Bench,
  order: Order,
  options: TidegateOptions = {},
  name = 'tidegate',
): Promise<Lane> {
  const asked = { engine: bench.settings.engine, ...options }
  return { subject: tidegate(asked, name), order, unavailable: await unavailable(order, asked) }
}
