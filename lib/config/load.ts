/**
 * Reads the config file, and the certificates that it names, and asks the machine what `auto` means; everything else is in
 * `parse.ts`.
 */
import { readFile, stat, statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, resolve } from 'node:path'
import { certificateFaults } from './certificate-faults.ts'
import { type ConfigResult, type Fault, parseConfig, wholeFile } from './parse.ts'

export { type ConfigResult, type Fault, faultLine, parseConfig } from './parse.ts'

const fileBytesMax = 4_000_000

/**
 * The same file, time after time, on a machine whose free disk was asked for once: what our own instances have taken since is
 * theirs, and no change of the configuration.
 */
export function configFile(path: string): () => Promise<ConfigResult> {
  const file = resolve(path)
  let free: Promise<number> | null = null
  const freeOnce = (directory: string) => {
    free ??= freeBytes(directory)
    return free
  }
  return () => load(path, file, freeOnce)
}

/** Never throws: a file that cannot be read is a fault like any other. */
export const loadConfig = (path: string): Promise<ConfigResult> => load(path, resolve(path), freeBytes)

async function load(
  path: string,
  file: string,
  free: (directory: string) => Promise<number>,
): Promise<ConfigResult> {
  try {
    const { size } = await stat(file)
    if (size > fileBytesMax)
      return { faults: [wholeFile(`${path} is ${size} bytes`, `at most ${fileBytesMax}`)] }
    const text = await readFile(file, 'utf8')
    const directory = dirname(file)
    const result = parseConfig(text, {
      file: path,
      directory,
      cpus: availableParallelism(),
      memoryBytes: memoryWithin(totalmem(), process.constrainedMemory()),
      diskBytes: await free(directory),
    })
    if ('faults' in result) return result
    const faults = await certificateFaults(result.config, text)
    return faults.length > 0 ? { faults } : result
  } catch (error) {
    return { faults: [unreadable(path, error as NodeJS.ErrnoException)] }
  }
}

function unreadable(path: string, error: NodeJS.ErrnoException): Fault {
  if (error.code === 'ENOENT') return wholeFile(`there is no file ${path}`, 'name it with `-c FILE`')
  if (error.code === 'EACCES')
    return wholeFile(`${path} may not be read`, 'give this user the right to read it')
  if (error.code === 'EISDIR') return wholeFile(`${path} is a directory`, 'name the file in it')
  return wholeFile(`${path} cannot be read: ${error.message}`, 'see the reason')
}

/** What there is for us: a control group may leave less than the machine has; 0 or more than that is no limit. */
export const memoryWithin = (machineBytes: number, groupBytes: number): number =>
  groupBytes > 0 ? Math.min(machineBytes, groupBytes) : machineBytes

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}
