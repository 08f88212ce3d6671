/** Reads the certificate files of one use and says whether TLS can be made of them. What is in them is judged by `certificates.ts`. */
import { readFile, stat } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import {
  type CertificateFacts,
  checkUse,
  type FileText,
  filesOf,
  type TlsFault,
  type TlsUse,
} from './certificates.ts'

/** A bundle of all public authorities is below 300 KiB. */
const fileBytesMax = 4 * 1024 * 1024

export interface ReadUse {
  readonly faults: readonly TlsFault[]
  /** By file name; of those that could be read. */
  readonly texts: ReadonlyMap<string, string>
  /** One for each pair, if there are no faults. */
  readonly certificates: readonly CertificateFacts[]
}

/** Never rejects: what cannot be read or used is a fault in people's words. */
export async function readUse(use: TlsUse): Promise<ReadUse> {
  const read = new Map<string, FileText>()
  for (const file of filesOf(use)) read.set(file, await readPem(file))
  const texts = new Map<string, string>()
  for (const [file, found] of read) if ('text' in found) texts.set(file, found.text)
  const { faults, certificates } = checkUse(use, file => read.get(file)!)
  return { faults: faults.length > 0 ? faults : contextFaults(use, texts), texts, certificates }
}

/** For each file of the use what changes whenever it is replaced or written; null: it cannot be looked at. */
export async function stampsOf(use: TlsUse): Promise<ReadonlyMap<string, string | null>> {
  const stamps = new Map<string, string | null>()
  for (const file of filesOf(use)) stamps.set(file, await stampOf(file))
  return stamps
}

async function stampOf(file: string): Promise<string | null> {
  try {
    const { ino, size, mtimeNs } = await stat(file, { bigint: true })
    return `${ino}:${size}:${mtimeNs}`
  } catch {
    return null
  }
}

async function readPem(file: string): Promise<FileText> {
  try {
    const { size } = await stat(file)
    if (size > fileBytesMax)
      return { message: `${file} is ${size} bytes`, fix: `at most ${fileBytesMax}: name the right file` }
    return { text: await readFile(file, 'latin1') }
  } catch (error) {
    return unreadable(file, error as NodeJS.ErrnoException)
  }
}

function unreadable(file: string, { code, message }: NodeJS.ErrnoException): FileText {
  if (code === 'ENOENT') return { message: `there is no file ${file}`, fix: 'make it, or name another' }
  if (code === 'EACCES')
    return { message: `${file} may not be read`, fix: 'give this user the right to read it' }
  if (code === 'EISDIR') return { message: `${file} is a directory`, fix: 'name the file in it' }
  return { message: `${file} cannot be read: ${message}`, fix: 'see the reason' }
}

/** What only OpenSSL knows: keys that it holds too weak, signatures that it does not take. */
function contextFaults(use: TlsUse, texts: ReadonlyMap<string, string>): TlsFault[] {
  return use.pairs.flatMap(({ cert, key }): TlsFault[] => {
    try {
      createSecureContext({ cert: texts.get(cert.file), key: texts.get(key.file) })
      return []
    } catch (error) {
      const reason = (error as { reason?: string }).reason ?? (error as Error).message
      const message = `${cert.file}: OpenSSL does not take it: ${reason}`
      return [{ path: cert.path, message, fix: 'make a new key and certificate' }]
    }
  })
}
