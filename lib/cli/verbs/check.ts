/** `check -c FILE`: is the configuration good? Starts nothing. */
import type { Config } from '../../config/config.ts'
import { type ConfigResult, faultLine, loadConfig } from '../../config/load.ts'
import { CliError, type Context, line, printJson } from '../io.ts'
import { plural } from '../table.ts'

export async function check(context: Context, options: { config: string }): Promise<void> {
  const config = await configOrExit(context, options.config)
  const clusters = config.clusters.map(({ id }) => id)
  if (context.json) return printJson(context.io, { ok: true, file: options.config, clusters })
  line(
    context.io.stdout,
    `${options.config} is good: ${plural(clusters.length, 'cluster')} (${clusters.join(', ')}), ${plural(config.listeners.length, 'listener')}.`,
  )
}

/** The configuration, or exit 2 with every fault of it, one a line. */
export async function configOrExit(
  { io, json }: Context,
  path: string,
  read: () => Promise<ConfigResult> = () => loadConfig(path),
): Promise<Config> {
  const result = await read()
  if ('config' in result) return result.config
  const { faults } = result
  if (!json) for (const fault of faults) line(io.stderr, faultLine(path, fault))
  throw new CliError(
    2,
    'invalid_config',
    `${plural(faults.length, 'fault')} in ${path}; nothing was started.`,
    { faults },
  )
}
