/** Reads the project's own sources for the style tests: files, their headers, what they import. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

export const root = resolve(import.meta.dirname, '../..')

export interface Source {
  /** Relative to the root, with `/`. */
  readonly path: string
  readonly text: string
  /** The text without comments and string contents: what runs. */
  readonly code: string
  readonly pure: boolean
  readonly imports: readonly Import[]
}

export interface Import {
  /** `node:…`, a package's name, or a path relative to the root. */
  readonly target: string
  readonly kind: 'builtin' | 'package' | 'file'
  readonly typeOnly: boolean
}

export function sources(...folders: readonly string[]): readonly Source[] {
  return folders.flatMap(folder =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile() && /\.ts$/.test(entry.name) && !/\.d\.ts$/.test(entry.name))
      // The peers of the bench have packages of their own.
      .filter(entry => !entry.parentPath.includes('node_modules'))
      .map(entry => read(relative(root, join(entry.parentPath, entry.name)))),
  )
}

function read(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  const header = /^(#!.*\n)?\s*\/\*\*[\s\S]*?\*\//.exec(text)?.[0] ?? ''
  return { path, text, code: strip(text), pure: /@pure\b/.test(header), imports: importsOf(path, text) }
}

const statement = /^(?:import|export)\s+(type\s+)?([^'"`;]*?\bfrom\s+)?['"]([^'"\n]+)['"]/gm

function importsOf(path: string, text: string): readonly Import[] {
  return [...text.matchAll(statement)].map(([, type, clause, specifier]) => {
    const names = /\{([^}]*)\}/
      .exec(clause ?? '')?.[1]
      ?.split(',')
      .map(name => name.trim())
      .filter(Boolean)
    const allTypes = names !== undefined && names.length > 0 && names.every(name => name.startsWith('type '))
    return { ...locate(path, specifier!), typeOnly: type !== undefined || allTypes }
  })
}

function locate(path: string, specifier: string): Pick<Import, 'target' | 'kind'> {
  if (specifier.startsWith('node:')) return { target: specifier, kind: 'builtin' }
  if (specifier.startsWith('.')) {
    return { target: relative(root, resolve(root, dirname(path), specifier)), kind: 'file' }
  }
  const parts = specifier.split('/')
  return { target: parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/'), kind: 'package' }
}

/** Blanks comments and the insides of quotes, so that a word in prose is not taken for a call. */
const strip = (text: string) =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|[^:'"`])\/\/.*$/gm, '$1')
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
    .replace(/"(?:[^"\\\n]|\\.)*"/g, '""')
