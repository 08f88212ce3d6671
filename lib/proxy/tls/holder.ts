/** The TLS of one event loop: gives listeners and engines what they need of the newest material. */
import { strict as assert } from 'node:assert'
import { keyOfListener, keyOfUpstream } from '../../certificates.ts'
import type { ListenerTlsConfig, UpstreamTlsConfig } from '../../config/config.ts'
import type { TlsMaterial, UseMaterial } from './material.ts'
import { UpstreamTls } from './upstream.ts'

export interface ListenerMaterial {
  readonly material: UseMaterial
  readonly ticketKeys: Uint8Array
}

export class TlsHolder {
  #material: TlsMaterial
  /** What an exchange of the former table may still want. */
  #former: TlsMaterial
  /** By configuration and material; dropped with it. */
  #upstreams = new Map<string, { readonly material: UseMaterial; readonly tls: UpstreamTls }>()

  constructor(material: TlsMaterial) {
    this.#material = material
    this.#former = material
  }

  /** Takes effect for connections that are made from now on. */
  renew(material: TlsMaterial): void {
    this.#former = this.#material
    this.#material = material
    for (const [key, { material: used }] of [...this.#upstreams])
      if (!Object.values(material.uses).includes(used)) this.#upstreams.delete(key)
  }

  listener(config: ListenerTlsConfig): ListenerMaterial {
    return { material: this.#find(keyOfListener(config)), ticketKeys: this.#material.ticketKeys }
  }

  upstream(config: UpstreamTlsConfig): UpstreamTls {
    const files = keyOfUpstream(config)
    const material = this.#find(files)
    const key = `${files} ${config.serverName} ${config.verify}`
    const held = this.#upstreams.get(key)
    if (held?.material === material) return held.tls
    const tls = new UpstreamTls(config, material)
    this.#upstreams.set(key, { material, tls })
    return tls
  }

  /** Never nothing: TLS that was meant is not left out. */
  #find(key: string): UseMaterial {
    const found = this.#material.uses[key] ?? this.#former.uses[key]
    assert(found, 'certificates that nobody has read')
    return found
  }
}
