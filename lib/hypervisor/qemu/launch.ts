/** Brings a claimed instance's VM up: its network and its process. What fails leaves the network to be detached. */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { hostPort, type Link, type Network } from '../network/network.ts'
import type { Ownership } from '../ownership.ts'
import type { ProcessKey } from '../proc.ts'
import { processFields } from '../vm/record.ts'
import { commandLine, type Start } from './command-line.ts'
import type { Qmp } from './qmp.ts'
import { instanceFacts } from './record.ts'
import { startVm } from './vm.ts'

export interface Launch {
  readonly name: string
  readonly directory: string
  readonly start: Start
  readonly network: Network
  readonly binary: string
  readonly ownership: Ownership
  readonly clock: Clock
  readonly signal: AbortSignal
}

const startTimeoutMs = 20_000
const portAttemptsMax = 5

/** Starts QEMU in its network; when a port of the host is taken in between, with others. */
export async function launchVm(launch: Launch): Promise<Qmp> {
  const { name, directory, network, ownership, signal, clock, binary } = launch
  for (let attempt = 1; ; attempt++) {
    const found = await ownership.read('instances', name)
    if (!found?.record) throw new TidegateError('unknown_instance', `there is no instance ${name} here`)
    const { machine, guest } = instanceFacts(found.record)
    const ports = [guest.app, guest.agent]
    const link = await network.attach({ directory, ports, outbound: machine.outbound }, signal)
    await ownership.update('instances', name, linkFields(link, guest.app, guest.agent))
    const args = commandLine(name, machine, launch.start, link)
    const started = async (key: ProcessKey) => {
      await ownership.update('instances', name, processFields(key))
    }
    try {
      const { enter } = link
      const request = { binary, directory, args, enter, timeoutMs: startTimeoutMs, signal, started }
      return await startVm(request, clock)
    } catch (error) {
      const taken = error instanceof TidegateError && error.code === 'port_in_use'
      if (!taken || attempt >= portAttemptsMax) throw error
      await network.detach(directory)
    }
  }
}

const linkFields = (link: Link, app: number, agent: number) => ({
  network: link.kind,
  host: link.host,
  app_port: hostPort(link, app),
  agent_port: hostPort(link, agent),
})
