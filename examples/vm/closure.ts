/**
 * Which files an application needs: follows relative imports from its main file and names the packages it imports.
 * Types are stripped on the way (the guest then needs no stripper, which costs seconds under emulation). Finds static
 * imports, `import('…')` and `new URL('…', import.meta.url)` with a literal; nothing computed.
 */
import { readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, relative, resolve } from 'node:path'

export interface Closure {
  /** Path relative to the root (with `.js` for `.ts`) and JavaScript text. */
  readonly files: ReadonlyMap<string, string>
  readonly packages: ReadonlySet<string>
  /** Path of the main file, as in `files`. */
  readonly main: string
}

const filesMax = 200
/** Statements begin a line, which keeps examples in comments out. */
const reference =
  /(?:^(?:import|export|\})[^'"\n]*\bfrom\s+|^import\s+|\bimport\s*\(\s*|\bnew URL\(\s*)(['"])([^'"\n]+)\1/gm

export function closureOf(root: string, mainFile: string): Closure {
  const files = new Map<string, string>()
  const packages = new Set<string>()
  const queue = [resolve(root, mainFile)]
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const name = compiledName(relative(root, path))
    if (files.has(name)) continue
    if (files.size >= filesMax) throw new Error(`${mainFile} needs more than ${filesMax} files`)
    const source = readFileSync(path, 'utf8')
    const text = path.endsWith('.ts') ? strip(source) : source
    files.set(
      name,
      text.replace(reference, (whole, _quote, target: string) => {
        if (target.startsWith('.')) {
          queue.push(resolve(dirname(path), target))
          return whole.replace(target, compiledName(target))
        }
        if (/^@?[\w-]/.test(target) && !target.includes(':')) packages.add(packageName(target))
        return whole
      }),
    )
  }
  return { files, packages, main: compiledName(mainFile) }
}

/** Node warns once that its stripper is experimental; a person who builds an image need not hear that. */
function strip(source: string): string {
  const emit = process.emitWarning
  process.emitWarning = () => {}
  try {
    return stripTypeScriptTypes(source)
  } finally {
    process.emitWarning = emit
  }
}

const compiledName = (path: string): string => path.replace(/\.ts$/, '.js')

const packageName = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
