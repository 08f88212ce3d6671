/** Reads the certificate files that a good configuration names, so that their faults are told like all others, each with its place. */
import { readUse } from '../certificate-files.ts'
import { usesOf } from '../certificates.ts'
import { pathText } from '../schema.ts'
import type { Config } from './config.ts'
import { readDocument } from './document.ts'
import type { Fault } from './parse.ts'

/** `text`: what `config` was made from. */
export async function certificateFaults(config: Config, text: string): Promise<readonly Fault[]> {
  const read = await Promise.all(usesOf(config).map(readUse))
  const faults = read.flatMap(use => use.faults)
  if (faults.length === 0) return []
  const document = readDocument(text)
  return faults.map(({ path, message, fix }) => {
    const place = 'faults' in document ? { line: 0, column: 0 } : document.place(path, 'value')
    return { path: pathText(path), ...place, message, fix }
  })
}
