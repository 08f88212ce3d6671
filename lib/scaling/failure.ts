/** Why an operation did not do what was asked, and what a person can do about it. @pure */
import type { JournalEntry, Json, OperationRecord } from '../store/store.ts'
import { type Difference, differencesOf, leftBehind, shortfallIn, standing } from './next.ts'
import { restoreStep, trace, triedAgain } from './phase.ts'
import { inWords } from './picture.ts'

export interface OperationFault {
  readonly code: string
  readonly message: string
  readonly details: Json
}

/** Null while it may still do what was asked, and when it did. */
export function errorOf(record: OperationRecord, journal: readonly JournalEntry[]): OperationFault | null {
  if (record.outcome === 'completed') return null
  if (record.outcome === null)
    return standing(journal)
      ? (journal.findLast(entry => entry.kind === 'stuck')!.data as unknown as OperationFault)
      : null
  if (record.outcome === 'cancelled') {
    const {
      code = 'operation_cancelled',
      message = 'cancelled on request and undone',
      details = {},
    } = faultIn(journal.find(entry => entry.kind === 'cancel_requested'))
    return { code, message, details }
  }
  const back = turnedBack(record, journal)
  const { fault, step } = causeOf(journal, back)
  const left = back ? leftBehind(journal) : []
  const differences = differencesOf(journal)
  const message = [
    fault.message ?? 'the operation failed',
    ...(left.length > 0
      ? [`not everything could be undone (${left.join(', ')}): what is left is collected later`]
      : []),
    ...(differences.length > 0 ? [`not all is as it was before: ${sentence(differences)}`] : []),
  ].join('; ')
  const details = {
    step,
    ...(fault.details ?? {}),
    ...(left.length > 0 ? { left } : {}),
    ...(differences.length > 0 ? { differences } : {}),
  }
  return { code: fault.code ?? 'operation_failed', message, details }
}

/** What the journal says of an operation that stands still. `steps` were given up on. */
export function stuckFault(
  record: OperationRecord,
  journal: readonly JournalEntry[],
  steps: readonly string[],
): { readonly [key: string]: Json } {
  const faults = steps.map(step => {
    const last = journal.findLast(
      entry => entry.step === step && (entry.kind === 'revert_failed' || entry.kind === 'failed'),
    )
    return { step, ...faultIn(last) }
  })
  const differences = steps.includes(restoreStep) ? differencesOf(journal) : []
  const back = turnedBack(record, journal)
  const what = faults.map(({ step, message }) => `${step}: ${message ?? 'failed'}`).join('; ')
  const found = differences.length > 0 ? `; ${sentence(differences)}` : ''
  const cause = back ? causeOf(journal, back) : null
  return {
    code: 'operation_stuck',
    message: `${record.type} ${record.id} cannot be ${back ? 'undone' : 'finished'} (${what}${found}). Traffic goes on. It goes on by itself when that is mended; or end it as it stands: tidegate operations ${record.id} --acknowledge`,
    details: {
      operation_id: record.id,
      steps: [...steps],
      codes: faults.map(({ code }) => code ?? 'operation_failed'),
      ...(cause ? { cause: { code: cause.fault.code ?? 'operation_failed', step: cause.step } } : {}),
      ...(differences.length > 0 ? { differences } : {}),
      remedies: remediesOf(
        record,
        faults.map(({ code }) => code ?? ''),
        differences,
      ),
    },
  }
}

function remediesOf(
  record: OperationRecord,
  codes: readonly string[],
  differences: readonly Difference[],
): readonly string[] {
  const left = differences.filter(({ what }) => what === 'left_over').map(({ id }) => id)
  const asked = differences.some(({ what }) => what === 'not_asked')
  return [
    ...(asked || codes.some(code => /unreachable|timeout/.test(code))
      ? ['Bring the node back that cannot be asked: `tidegate doctor` and GET /api/v1/nodes name it.']
      : []),
    ...(codes.includes('disk_full') ? ['Make room on the disk of the node.'] : []),
    ...(left.length > 0 ? [`See why ${left.join(', ')} cannot be removed: the log has each attempt.`] : []),
    'Nothing else is needed: Tidegate tries again every 30 seconds to 5 minutes, and after a restart.',
    `To end it as it stands: POST /api/v1/operations/${record.id}/acknowledge. What is left is then destroyed as an orphan as soon as its node can be asked.`,
  ]
}

/** The failure that turned it back; of one that was not undone, the last. */
function causeOf(
  journal: readonly JournalEntry[],
  back: boolean,
): { readonly fault: Fault; readonly step: string | null } {
  const failures = journal.filter(entry => entry.kind === 'failed')
  const turning = failures.filter(entry => !triedAgain(entry))
  const short = back ? null : shortfallIn(journal)
  if (short) return { fault: short, step: null }
  const cause = back ? (turning[0] ?? failures[0]) : failures.at(-1)
  const cancelled = journal.findIndex(entry => entry.kind === 'cancel_requested')
  if (cancelled >= 0 && (!cause || journal.indexOf(cause) > cancelled))
    return { fault: { code: 'operation_cancelled', message: 'cancelled on request' }, step: null }
  const entry = cause ?? journal.findLast(entry => entry.kind === 'revert_failed')
  return { fault: faultIn(entry), step: entry?.step ?? null }
}

interface Fault {
  readonly code?: string
  readonly message?: string
  readonly details?: { readonly [key: string]: Json }
}

const faultIn = (entry: JournalEntry | undefined): Fault => (entry?.data as Fault | null | undefined) ?? {}

const turnedBack = (record: OperationRecord, journal: readonly JournalEntry[]): boolean =>
  trace(record, journal).some(({ phase }) => phase === 'rolling_back')

/** At most this many differences are spelled out. */
const spelledMax = 5

function sentence(differences: readonly Difference[]): string {
  const words = differences.slice(0, spelledMax).map(inWords)
  const more = differences.length - words.length
  return more > 0 ? `${words.join(', ')} and ${more} more` : words.join(', ')
}
