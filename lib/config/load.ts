/** Reads the config file and asks the machine what `auto` means; everything else is in `parse.ts`. */
import { readFile, stat, statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, resolve } from 'node:path'
import { type ConfigResult, type Fault, parseConfig, wholeFile } from './parse.ts'

export { type ConfigResult, type Fault, faultLine, parseConfig } from './parse.ts'

const fileBytesMax = 4_000_000

/** Never throws: a file that cannot be read is a fault like any other. */
export async function loadConfig(path: string): Promise<ConfigResult> {
  const file = resolve(path)
  try {
    const { size } = await stat(file)
    if (size > fileBytesMax)
      return { faults: [wholeFile(`${path} is ${size} bytes`, `at most ${fileBytesMax}`)] }
    const text = await readFile(file, 'utf8')
    const directory = dirname(file)
    return parseConfig(text, {
      file: path,
      directory,
      cpus: availableParallelism(),
      memoryBytes: totalmem(),
      diskBytes: await freeBytes(directory),
    })
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

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}
