/**
 * A YAML text as plain values, with the place of each of them. @pure
 * The only importing file of `yaml`. It knows nothing of what the keys mean.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
} from 'yaml'

export interface Place {
  readonly line: number
  readonly column: number
}

export interface SyntaxFault extends Place {
  readonly message: string
  readonly fix: string
}

export interface Parsed {
  readonly value: unknown
  /** Where the value at `path` stands, or its key; the nearest thing around it when it is not in the text. */
  place(path: readonly (string | number)[], at: 'key' | 'value'): Place
}

/** Aliases may repeat this many nodes in all: small files must not grow into huge ones. */
const aliasCountMax = 100

/** Never throws on any text. */
export function readDocument(text: string): { faults: readonly SyntaxFault[] } | Parsed {
  const lines = new LineCounter()
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(Math.max(0, Math.min(offset, text.length)))
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  try {
    const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, strict: true })
    const [document, second] = Array.isArray(documents) ? documents : []
    if (!document)
      return { faults: [{ line: 1, column: 1, message: 'the file is empty', fix: 'see docs/config.md' }] }
    const faults = syntaxFaults(document, place)
    if (second) {
      const start = place(second.range[0])
      faults.push({
        ...start,
        message: 'a second document',
        fix: 'keep one document in a file: remove `---`',
      })
    }
    if (faults.length > 0) return { faults }
    const value: unknown = document.toJS({ maxAliasCount: aliasCountMax })
    if (isCyclic(value, new Set()))
      return {
        faults: [{ line: 1, column: 1, message: 'an alias contains itself', fix: 'write the value out' }],
      }
    return { value, place: (path, at) => place(offsetOf(document, path, at)) }
  } catch (error) {
    const message =
      error instanceof RangeError ? 'the text is nested too deeply' : String((error as Error).message)
    return { faults: [{ line: 1, column: 1, message, fix: 'simplify the file' }] }
  }
}

function syntaxFaults(document: Document.Parsed, place: (offset: number) => Place): SyntaxFault[] {
  return [...document.errors, ...document.warnings].map(error => {
    const message = error.message.split('\n')[0] ?? error.message
    return {
      ...place(error.pos[0]),
      message: `not YAML: ${message}`,
      fix: fixes[error.code] ?? 'mend the syntax here',
    }
  })
}

const fixes: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'keep one of the two keys',
  TAB_AS_INDENT: 'indent with spaces',
  BAD_INDENT: 'line it up with its neighbours',
  MISSING_CHAR: 'close the quote or bracket',
  TAG_RESOLVE_FAILED: 'remove the tag (`!...`)',
  BAD_ALIAS: 'define the anchor (`&name`) before its alias',
}

function offsetOf(
  document: Document.Parsed,
  path: readonly (string | number)[],
  at: 'key' | 'value',
): number {
  let node: Node | null = resolve(document, document.contents)
  let offset = startOf(node)
  for (const [i, part] of path.entries()) {
    const last = i === path.length - 1
    if (isMap(node)) {
      const pair = node.items.find(
        item => String(isScalar(item.key) ? item.key.value : item.key) === String(part),
      )
      if (!pair) return offset
      const keyOffset = startOf(pair.key as Node)
      const value = pair.value as Node | null
      offset = last && at === 'key' ? keyOffset : isEmpty(value) ? keyOffset : startOf(value)
      node = resolve(document, value)
    } else if (isSeq(node)) {
      const item = node.items[Number(part)] as Node | undefined
      if (!item) return offset
      offset = startOf(item)
      node = resolve(document, item)
    } else return offset
  }
  return offset
}

const resolve = (document: Document.Parsed, node: Node | null): Node | null =>
  isAlias(node) ? ((node.resolve(document) as Node | undefined) ?? null) : node

const startOf = (node: Node | null | undefined): number => node?.range?.[0] ?? 0

/** `key:` with nothing behind it: the value has no place of its own. */
const isEmpty = (node: Node | null): boolean =>
  !node || (isScalar(node) && node.value === null && !node.source)

function isCyclic(value: unknown, above: Set<unknown>): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (above.has(value)) return true
  above.add(value)
  const found = Object.values(value).some(child => isCyclic(child, above))
  above.delete(value)
  return found
}
