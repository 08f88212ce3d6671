/** The verbs and their flags. The only importing file of `commander`. It parses; the files in `verbs/` act. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { closeCodes, sessionsWords, tunnelsWords } from '../config/leaving-schema.ts'
import { policyBounds, protections } from '../policy.ts'
import { parseDuration } from '../units.ts'
import { type Context, type ExitCode, type Io, line } from './io.ts'
import { drain, mark } from './verbs/backend.ts'
import { check } from './verbs/check.ts'
import { doctor } from './verbs/doctor.ts'
import { drainNode, nodes, readyNode } from './verbs/nodes.ts'
import { history, operations } from './verbs/operations.ts'
import { policy } from './verbs/policy.ts'
import { replace, resize, scale } from './verbs/scale.ts'
import { serve } from './verbs/serve.ts'
import { snapshots } from './verbs/snapshots.ts'
import { status } from './verbs/status.ts'

const adminDefault = 'http://127.0.0.1:9090'

/** Parses and runs. Rejects with `CliError`, or with `UsageError` when commander has said what is wrong. */
export async function runProgram(argv: readonly string[], io: Io, version: string): Promise<void> {
  const program = new Command('tidegate')
    .description('A front door that grows its own backends.')
    .version(version)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .showHelpAfterError('(tidegate --help lists the verbs)')
    .exitOverride()
    .configureOutput({ writeOut: text => io.stdout.write(text), writeErr: text => io.stderr.write(text) })
    .option('--admin <url>', `admin API (or TIDEGATE_ADMIN; default ${adminDefault})`)
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExit: 0 done · 1 it failed · 2 bad usage or config · 3 the admin API cannot be reached',
    )
  addServing(program, io)
  addScaling(program, io)
  addResizing(program, io)
  addPolicy(program, io)
  addSnapshots(program, io)
  addBackends(program, io)
  addProtection(program, io)
  addNodes(program, io)
  addReading(program, io)
  if (argv.length === 0) return void line(io.stdout, program.helpInformation().trimEnd())
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) throw new UsageError(error)
    throw error
  }
}

/** Commander has printed what is wrong, or the help or version that was asked for. */
export class UsageError extends Error {
  readonly exit: ExitCode

  constructor(error: CommanderError) {
    super(error.message, { cause: error })
    this.exit = error.exitCode === 0 ? 0 : 2
  }
}

/** Whether `--json` was given, where parsing itself may have failed. */
export const wantsJson = (argv: readonly string[]): boolean => argv.includes('--json')

function contextOf(command: Command, io: Io): Context {
  const globals = command.optsWithGlobals<{ admin?: string; json?: boolean }>()
  return {
    io,
    json: globals.json ?? false,
    admin: globals.admin ?? (io.env.TIDEGATE_ADMIN || adminDefault),
    token: io.env.TIDEGATE_TOKEN || null,
  }
}

function addServing(program: Command, io: Io): void {
  const levels = ['trace', 'debug', 'info', 'warn', 'error', 'silent']
  program
    .command('serve')
    .description('start the proxy, the controller and the admin API')
    .requiredOption('-c, --config <file>', 'configuration', 'tidegate.yaml')
    .addOption(
      new Option('--log-level <level>', 'JSON lines on standard error').choices(levels).default('info'),
    )
    .action((options, command: Command) => serve(contextOf(command, io), options))
  program
    .command('check')
    .description('say every fault of a configuration, start nothing')
    .requiredOption('-c, --config <file>', 'configuration', 'tidegate.yaml')
    .action((options, command: Command) => check(contextOf(command, io), options))
  program
    .command('doctor')
    .description('check that this machine has what Tidegate needs')
    .option('-c, --config <file>', 'check what this configuration needs')
    .action((options, command: Command) => {
      const given = command.optsWithGlobals<{ admin?: string }>().admin !== undefined
      return doctor(contextOf(command, io), {
        ...options,
        adminGiven: given || Boolean(io.env.TIDEGATE_ADMIN),
      })
    })
}

function addScaling(program: Command, io: Io): void {
  program
    .command('scale')
    .argument('<cluster>')
    .description('bring a cluster to a number of instances, or of CPUs')
    .option('--to <n>', 'how many instances', countArgument(0, 1_000_000))
    .option('--cpus <n>', 'how many CPUs together, at least', countArgument(1, 1_000_000))
    .option('--immediate', 'skip cooldowns and grace periods', false)
    .option('--no-drain', 'cut leaving instances')
    .option('--no-wait', 'start it and return')
    .action((cluster: string, options, command: Command) => scale(contextOf(command, io), cluster, options))
  program
    .command('replace')
    .argument('<cluster>')
    .argument('[instance]')
    .description('make a successor, then drain and destroy the instance')
    .option('--all', 'all at once, by new ones of the template of now', false)
    .option('--rolling', 'all batch by batch, and back where a batch does not do well', false)
    .option('--batch <n>', 'with --rolling: instances at once, as 2 or 25%', batchArgument)
    .option('--pause <duration>', 'with --rolling: how long a batch serves before the next', durationArgument)
    .option('--max-failure-ratio <share>', 'with --rolling: of its exchanges, 0 to 1', shareArgument)
    .option('--no-wait', 'start it and return')
    .action((cluster: string, instance: string | undefined, options, command: Command) =>
      replace(contextOf(command, io), cluster, instance, options),
    )
}

function addResizing(program: Command, io: Io): void {
  program
    .command('resize')
    .argument('<cluster>')
    .argument('<instance>')
    .description('give a running instance other CPUs, memory or disk')
    .option('--cpus <n>', 'as 2', countArgument(1, 1_024))
    .option('--memory <size>', 'as 512MiB')
    .option('--disk <size>', 'as 2GiB')
    .option('--no-wait', 'start it and return')
    .action((cluster: string, instance: string, options, command: Command) =>
      resize(contextOf(command, io), cluster, instance, options),
    )
}

function addSnapshots(program: Command, io: Io): void {
  program
    .command('snapshots')
    .description('what the nodes hold of snapshots, and who uses it')
    .option('--remove <id>', 'remove this one, if nobody uses it')
    .action((options, command: Command) => snapshots(contextOf(command, io), options))
}

function addPolicy(program: Command, io: Io): void {
  const { target_cpu_utilization: cpu } = policyBounds
  const command = program
    .command('policy')
    .argument('<cluster>')
    .description('the scaling policy in force; with options: change it')
  const flags = Object.entries(policyFlags) as [keyof typeof policyFlags, string][]
  for (const [key, flag] of flags) {
    const { min, max } = policyBounds[key]
    command.option(`${flag} <n>`, `${key}, ${min} to ${max}`, countArgument(min, max))
  }
  command
    .option('--target-cpu <share>', `target_cpu_utilization, ${cpu.min} to ${cpu.max}`, shareArgument)
    .option('--rolling-max-failures <share>', 'rolling_max_failure_ratio, 0 to 1', shareArgument)
    .addOption(new Option('--protect <whom>', 'whom a scale-in leaves alone').choices(protections))
    .option('--reset', "back to the file's", false)
    .action((cluster: string, options: Record<string, unknown>, command: Command) => {
      const given = flags.map(([key, flag]) => [key, options[camel(flag)]] as const)
      const all = [
        ...given,
        ['target_cpu_utilization', options.targetCpu] as const,
        ['rolling_max_failure_ratio', options.rollingMaxFailures] as const,
        ['protect', options.protect] as const,
      ]
      const change = Object.fromEntries(all.filter(([, value]) => value !== undefined))
      return policy(contextOf(command, io), cluster, { change, reset: options.reset === true })
    })
}

const policyFlags = {
  min_instances: '--min',
  max_instances: '--max',
  scale_in_cooldown_seconds: '--scale-in-cooldown',
  scale_out_cooldown_seconds: '--scale-out-cooldown',
  disruption_budget: '--disruption-budget',
  rolling_pause_seconds: '--rolling-pause',
  scale_in_cancel_in_flight: '--cancel-in-flight',
  resize_first_cpus: '--resize-first-cpus',
  resize_first_memory_mib: '--resize-first-memory',
} as const

const camel = (flag: string) =>
  flag.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())

function addBackends(program: Command, io: Io): void {
  program
    .command('drain')
    .argument('<cluster/backend>')
    .description('give it no new clients and let those it has finish')
    .option('--grace <duration>', "how long they may take, as 30s (default: the cluster's)", durationArgument)
    .option('--no-wait-for-connections', 'end them at once')
    .addOption(
      new Option('--sessions <what>', 'when bound clients go elsewhere (keep: it waits for them)').choices(
        sessionsWords,
      ),
    )
    .addOption(
      new Option('--tunnels <what>', 'WebSockets are left alone, told, or cut by the deadline').choices(
        tunnelsWords,
      ),
    )
    .addOption(new Option('--close-code <code>', 'what WebSockets are told').choices(closeCodes.map(String)))
    .option('--spread <duration>', 'the end of the grace period, over which they are told', durationArgument)
    .option('--no-notify', 'the same as --tunnels cut')
    .option('--no-wait', 'start it and return')
    .action((target: string, options, command: Command) =>
      drain(contextOf(command, io), target, {
        graceMs: options.grace ?? null,
        waitForConnections: options.waitForConnections,
        sessions: options.sessions ?? null,
        tunnels: options.tunnels ?? (options.notify ? null : 'cut'),
        closeCode: options.closeCode === undefined ? null : Number(options.closeCode),
        spreadMs: options.spread ?? null,
        wait: options.wait,
      }),
    )
  program
    .command('ready')
    .argument('<cluster/backend>')
    .description('take back a drain or maintenance')
    .action((target: string, _options, command: Command) => mark(contextOf(command, io), target, 'ready'))
  program
    .command('maint')
    .argument('<cluster/backend>')
    .description('take it out of rotation at once')
    .action((target: string, _options, command: Command) => mark(contextOf(command, io), target, 'maint'))
}

function addProtection(program: Command, io: Io): void {
  const say = {
    protect: 'let no scale-in choose this instance',
    unprotect: 'let scale-in choose this instance again',
  } as const
  for (const verb of ['protect', 'unprotect'] as const)
    program
      .command(verb)
      .argument('<cluster/instance>')
      .description(say[verb])
      .action((target: string, _options, command: Command) => mark(contextOf(command, io), target, verb))
}

function addNodes(program: Command, io: Io): void {
  program
    .command('nodes')
    .description('hypervisor nodes: what they hold, what they have free')
    .action((_options, command: Command) => nodes(contextOf(command, io)))
  program
    .command('drain-node')
    .argument('<node>')
    .description('replace what is on it by instances elsewhere, and place nothing new on it')
    .option('--no-wait', 'start it and return')
    .action((node: string, options, command: Command) => drainNode(contextOf(command, io), node, options))
  program
    .command('ready-node')
    .argument('<node>')
    .description('take back the drain of a node')
    .action((node: string, _options, command: Command) => readyNode(contextOf(command, io), node))
}

function addReading(program: Command, io: Io): void {
  program
    .command('status')
    .argument('[cluster]')
    .description('clusters and their backends')
    .action((cluster: string | undefined, _options, command: Command) =>
      status(contextOf(command, io), cluster),
    )
  program
    .command('operations')
    .argument('[id]')
    .description('what was done and is being done; with an ID its steps')
    .option('--follow', 'stay until it has ended (without ID: the one that runs)', false)
    .option('--cancel', 'ask it to stop and undo what it did', false)
    .option('--acknowledge', 'end a stuck one as it stands', false)
    .option('--cluster <id>', 'only of this cluster')
    .option('--limit <n>', 'at most', countArgument(1, 1000), 20)
    .action((id: string | undefined, options, command: Command) =>
      operations(contextOf(command, io), id, options),
    )
  program
    .command('history')
    .argument('[cluster]')
    .description('who did what, when, why, and what came of it; without a cluster: of everything')
    .option('--limit <n>', 'at most', countArgument(1, 1000), 50)
    .action((cluster: string | undefined, options, command: Command) =>
      history(contextOf(command, io), cluster, options),
    )
}

const countArgument =
  (min: number, max: number) =>
  (text: string): number => {
    const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    if (count >= min && count <= max) return count
    throw new InvalidArgumentError(`Write a whole number from ${min} to ${max}.`)
  }

/** Whether it is within bounds is said by who knows the cluster. */
function batchArgument(text: string): number | string {
  if (/^-?\d{1,3}%$/.test(text)) return text
  if (/^-?\d{1,9}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Write a number, as 2, or a share, as 25%.')
}

/** Whether it is within its bounds the server says, which knows them. */
function shareArgument(text: string): number {
  if (/^-?\d{0,9}(\.\d{1,9})?$/.test(text) && /\d/.test(text)) return Number(text)
  throw new InvalidArgumentError('Write a number, as 0.05.')
}

function durationArgument(text: string): number {
  const parsed = parseDuration(text)
  if (parsed.ok) return parsed.value
  throw new InvalidArgumentError(`${parsed.message}; ${parsed.fix}.`)
}
