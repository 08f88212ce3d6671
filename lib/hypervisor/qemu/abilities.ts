/**
 * What the QEMU on this machine can do, asked of itself: its version, its target, and which ways of saving a VM it and the
 * kernel under it have. Asked of a machine without anything in it, which takes a fraction of a second; kept as long as the
 * program's file is the same.
 */
import { stat } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { TidegateError } from '../../errors.ts'
import { runCommand } from '../command.ts'

export interface Abilities {
  /** `7.2.22`. */
  readonly version: string
  /** Saves a VM that runs on; needs userfaultfd with write protection and the right to use it. */
  readonly background: boolean
  /** Why not, in QEMU's words. */
  readonly backgroundReason: string
}

const oldest = [5, 2] as const
const target = 'x86_64'
const kept = new Map<string, { readonly mark: string; readonly abilities: Promise<Abilities> }>()
const keptMax = 8

/** Throws `hypervisor_failed` when it cannot be asked, `hypervisor_unsupported` when it is not one for us. */
export async function askAbilities(binary: string): Promise<Abilities> {
  const mark = await markOf(binary)
  const known = kept.get(binary)
  if (known !== undefined && known.mark === mark) return known.abilities
  const abilities = ask(binary)
  if (kept.size >= keptMax) kept.clear()
  kept.set(binary, { mark, abilities })
  abilities.catch(() => kept.delete(binary))
  return abilities
}

async function ask(binary: string): Promise<Abilities> {
  const input = questions.map(question => `${JSON.stringify(question)}\n`).join('')
  const args = [
    ...['-machine', 'none', '-accel', 'tcg', '-S', '-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-qmp', 'stdio'],
  ]
  let said: string
  try {
    said = await runCommand(binary, args, { input })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TidegateError('hypervisor_failed', `cannot run ${reason}; install it with: npm run setup`, {
      cause: error,
    })
  }
  return readAbilities(said, binary)
}

const questions = [
  { execute: 'qmp_capabilities' },
  { execute: 'query-target', id: 'target' },
  { execute: 'query-migrate-capabilities', id: 'capabilities' },
  {
    execute: 'migrate-set-capabilities',
    id: 'background',
    arguments: { capabilities: [{ capability: 'background-snapshot', state: true }] },
  },
  { execute: 'quit' },
]

/** Reads what QEMU answered, line by line. Throws `hypervisor_unsupported`. */
export function readAbilities(said: string, binary: string): Abilities {
  const answers = said.split('\n').flatMap(parsed)
  const answer = (id: string) => answers.find(line => line.id === id)
  const { qemu } = answers.find(line => line.QMP)?.QMP?.version ?? {}
  if (qemu === undefined) throw unsupported(`${binary} does not answer as QEMU does`)
  const version = `${qemu.major}.${qemu.minor}.${qemu.micro}`
  if (!isAtLeast([qemu.major, qemu.minor], oldest)) {
    throw unsupported(`${binary} is QEMU ${version}; ${oldest.join('.')} or newer is needed`)
  }
  const { arch } = (answer('target')?.return ?? {}) as { arch?: string }
  if (arch !== target) throw unsupported(`${binary} emulates ${arch ?? 'nothing'}, and ${target} is needed`)
  const listed = answer('capabilities')?.return
  const names = Array.isArray(listed) ? listed.map(entry => String(entry.capability)) : []
  const refused = answer('background')?.error?.desc
  const background = names.includes('background-snapshot') && refused === undefined
  const why = refused ?? (background ? '' : `QEMU ${version} has it not`)
  return { version, background, backgroundReason: why }
}

interface Line {
  readonly id?: string
  readonly return?: unknown
  readonly error?: { readonly desc?: string }
  readonly QMP?: {
    readonly version?: {
      readonly qemu?: { readonly major: number; readonly minor: number; readonly micro: number }
    }
  }
}

function parsed(text: string): readonly Line[] {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? [value] : []
  } catch {
    return []
  }
}

const isAtLeast = ([major, minor]: readonly [number, number], [a, b]: readonly [number, number]) =>
  major > a || (major === a && minor >= b)

const unsupported = (message: string): TidegateError => new TidegateError('hypervisor_unsupported', message)

/** Changes with the program's file. A program that is not found is asked again each time. */
async function markOf(binary: string): Promise<string> {
  const places = isAbsolute(binary) ? [''] : (process.env.PATH ?? '').split(':')
  for (const place of places) {
    try {
      const { ino, size, mtimeMs } = await stat(join(place, binary))
      return `${place} ${ino} ${size} ${mtimeMs}`
    } catch {
      // Not here.
    }
  }
  return ''
}
