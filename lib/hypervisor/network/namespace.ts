/**
 * A network namespace for each instance, with a TAP for its hypervisor and an address of its own outside. Needs root,
 * `ip` (iproute2), `nft` (nftables) and `nsenter` (util-linux). Nothing is written down: the kernel holds it, under names
 * that plan.ts derives from the instance's directory, so what a crash leaves is found again by the same name.
 */
import { access, constants, mkdtemp, readdir, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { TidegateError } from '../../errors.ts'
import { CommandFailure, runCommand } from '../command.ts'
import type { Diagnosis } from '../driver.ts'
import { isCode } from '../ownership.ts'
import { type AttachRequest, guestNet, type Link, type Network } from './network.ts'
import {
  addressesOf,
  addressFor,
  hostAddress,
  insideBatch,
  namespaceName,
  namespacePrefix,
  outsideBatch,
  type Pool,
  rules,
  tapName,
  uplink,
  vethName,
} from './plan.ts'

const namespaces = '/run/netns'
const attemptsMax = 64
const forwardingOn = 'echo 1 > /proc/sys/net/ipv4/ip_forward && exec nft -f -'

export function openNamespaces(pool: Pool): Network {
  return new Namespaces(pool)
}

class Namespaces implements Network {
  readonly kind = 'namespace'
  readonly #pool: Pool

  constructor(pool: Pool) {
    this.#pool = pool
  }

  /** By making one, with all that is in it, for an instance that does not exist. */
  async check(): Promise<readonly Diagnosis[]> {
    const name = 'network namespaces'
    const trial = await mkdtemp(join(tmpdir(), 'tidegate-network-'))
    const directory = join(trial, 'instances', 'trial')
    try {
      await this.attach({ directory, ports: [1], outbound: false }, AbortSignal.timeout(20_000))
      return [{ name, ok: true, detail: 'a namespace with a TAP can be made' }]
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      const fix = 'run as root with iproute2 and nftables installed, or set network: user'
      return [{ name, ok: false, detail, fix, code: 'network_unavailable' }]
    } finally {
      await this.detach(directory).catch(() => {})
      await rm(trial, { recursive: true, force: true })
    }
  }

  async attach(request: AttachRequest, signal: AbortSignal): Promise<Link> {
    const { directory, ports, outbound } = request
    signal.throwIfAborted()
    await requireTun()
    const namespace = namespaceName(await located(directory))
    const host = hostAddress(this.#pool)
    // Not abortable and not undone: when it fails, the namespace of that name is another's.
    await runCommand('ip', ['netns', 'add', namespace], {}).catch(error => {
      throw unavailable(error)
    })
    try {
      signal.throwIfAborted()
      const address = await this.#claimAddress(namespace, directory, signal)
      await runCommand('ip', ['-n', namespace, '-batch', '-'], {
        input: insideBatch(address, host),
        signal,
      })
      const inside = [`--net=${join(namespaces, namespace)}`, '/bin/sh', '-c', forwardingOn]
      await runCommand('nsenter', inside, { input: rules(ports, outbound), signal })
      await runCommand('ip', ['-batch', '-'], { input: outsideBatch(address, host), signal })
      return {
        kind: 'namespace',
        host: address,
        forwards: ports.map(port => ({ hostPort: port, guestPort: port })),
        enter: ['nsenter', `--net=${join(namespaces, namespace)}`, '--'],
        tap: { name: tapName, guestMac: guestNet.mac },
      }
    } catch (error) {
      await this.detach(directory).catch(() => {})
      signal.throwIfAborted()
      throw unavailable(error)
    }
  }

  async detach(directory: string): Promise<void> {
    await remove(namespaceName(await located(directory)))
  }

  async sweep(nodeDirectory: string): Promise<void> {
    const node = await located(nodeDirectory)
    const ours = (await list()).filter(name => name.startsWith(namespacePrefix(node)))
    if (ours.length === 0) return
    // Read after the namespaces: a directory is there before its namespace, so one that is missing now is gone for good.
    const instances = await readdir(join(node, 'instances')).catch(error => {
      if (isCode(error, 'ENOENT')) return []
      throw error
    })
    const living = new Set(instances.map(name => namespaceName(join(node, 'instances', name))))
    for (const name of ours) {
      if (living.has(name)) continue
      const inside = await runCommand('ip', ['netns', 'pids', name], {}).catch(() => '')
      if (inside.trim() === '') await remove(name)
    }
  }

  /** The veth pair, under the name of the first address that nobody has. */
  async #claimAddress(namespace: string, directory: string, signal: AbortSignal): Promise<string> {
    const tries = Math.min(attemptsMax, addressesOf(this.#pool))
    for (let attempt = 0; attempt < tries; attempt++) {
      const address = addressFor(this.#pool, directory, attempt)
      const pair = ['link', 'add', vethName(address), 'type', 'veth']
      try {
        await runCommand('ip', [...pair, 'peer', 'name', uplink, 'netns', namespace], { signal })
        return address
      } catch (error) {
        if (!(error instanceof CommandFailure) || !/file exists/i.test(error.words)) throw error
      }
    }
    throw new TidegateError('network_unavailable', `no free address after ${tries} tries; give a larger pool`)
  }
}

/** By the path without links, because it is what the names are made of. A directory that is gone has its path as it is. */
async function located(directory: string): Promise<string> {
  return realpath(directory).catch(() =>
    realpath(dirname(directory)).then(
      parent => join(parent, basename(directory)),
      () => directory,
    ),
  )
}

async function remove(namespace: string): Promise<void> {
  if (!(await list()).includes(namespace)) return
  // The pair goes with this end at once. Left to the end of its namespace, the other end lives on for a moment.
  await runCommand('ip', ['-n', namespace, 'link', 'del', uplink], {}).catch(() => {})
  try {
    await runCommand('ip', ['netns', 'del', namespace], {})
  } catch (error) {
    if ((await list()).includes(namespace)) throw unavailable(error)
  }
}

async function list(): Promise<readonly string[]> {
  try {
    return await readdir(namespaces)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return []
    throw unavailable(error)
  }
}

async function requireTun(): Promise<void> {
  await access('/dev/net/tun', constants.R_OK | constants.W_OK).catch(error => {
    throw unavailable(error)
  })
}

function unavailable(error: unknown): TidegateError {
  if (error instanceof TidegateError) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new TidegateError(
    'network_unavailable',
    `cannot make a network namespace: ${reason}; it takes root, /dev/net/tun, iproute2 and nftables, or set network: user`,
    { cause: error },
  )
}
