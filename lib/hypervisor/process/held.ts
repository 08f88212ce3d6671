/** How an instance is reported: its record on disk set against the processes there are. */
import { join } from 'node:path'
import type { HeldInstance, InstanceState } from '../driver.ts'
import { keepSmall } from '../log-file.ts'
import { type Found, nobody } from '../ownership.ts'
import { findByEnvironment, findProcess, type ProcessFacts, residentBytes } from '../proc.ts'
import { type InstanceFields, readInstanceFields } from './records.ts'

/** `unknown` where the record or the system does not say: that is never taken for gone. */
export async function heldInstance(found: Found, mark: string): Promise<HeldInstance> {
  const fields = found.record && readInstanceFields(found.record.fields)
  const base = {
    name: found.name,
    owner: found.record?.owner ?? nobody,
    createdAtMs: found.record?.createdAtMs ?? 0,
    address: fields?.address ?? null,
  }
  if (fields === null) return { ...base, state: 'unknown', pid: null, residentBytes: null }
  let facts: ProcessFacts | null
  try {
    facts = await processOf(fields, mark)
  } catch {
    return { ...base, state: 'unknown', pid: fields.process?.pid ?? null, residentBytes: null }
  }
  if (facts === null) return { ...base, state: 'stopped', pid: null, residentBytes: null }
  const state: InstanceState = facts.paused ? 'paused' : 'running'
  return { ...base, state, pid: facts.pid, residentBytes: await residentBytes(facts.pid) }
}

/** A crash between the start and its record leaves a process that only its mark can tell. */
async function processOf(fields: InstanceFields, mark: string): Promise<ProcessFacts | null> {
  if (fields.process !== null) return findProcess(fields.process)
  const marked = await findByEnvironment(mark)
  return marked.find(facts => facts.pid === facts.group) ?? marked[0] ?? null
}

const logBytesMax = 16 * 1024 * 1024

/** The application writes its log by itself. */
export const keepLogSmall = (directory: string): Promise<void> =>
  keepSmall(join(directory, 'log'), logBytesMax, 'appended')
