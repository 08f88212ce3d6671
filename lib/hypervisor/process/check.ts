/** The process driver's lines of `tidegate doctor`: can instances run here, and this template's? Starts nothing. */
import { access, constants, mkdir, stat } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'
import { TidegateError } from '../../errors.ts'
import type { Diagnosis } from '../driver.ts'
import { bootId } from '../proc.ts'
import { type ProcessTemplate, parseTemplate } from './template.ts'

export async function diagnose(
  directory: string,
  template: Readonly<Record<string, unknown>> | null,
): Promise<readonly Diagnosis[]> {
  const lines = [await processTable(), await writable(directory)]
  if (template === null) return lines
  let parsed: ProcessTemplate
  try {
    parsed = parseTemplate(template)
  } catch (error) {
    const detail = error instanceof TidegateError ? error.message : String(error)
    return [...lines, { name: 'template', ok: false, detail, fix: 'correct instance.template in the config' }]
  }
  return [...lines, await runnable(parsed)]
}

async function processTable(): Promise<Diagnosis> {
  const name = 'process table'
  try {
    await bootId()
    return { name, ok: true, detail: '/proc can be read' }
  } catch (error) {
    const fix = 'run on Linux with /proc mounted'
    return { name, ok: false, detail: `/proc cannot be read: ${reason(error)}`, fix }
  }
}

async function writable(directory: string): Promise<Diagnosis> {
  const name = 'directory'
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK)
    return { name, ok: true, detail: directory }
  } catch (error) {
    return {
      name,
      ok: false,
      detail: reason(error),
      fix: `make ${directory} a directory that we may write to`,
    }
  }
}

async function runnable(template: ProcessTemplate): Promise<Diagnosis> {
  const name = 'command'
  const [command] = template.command
  const cwd = template.cwd ?? process.cwd()
  if (!(await isDirectory(cwd))) {
    return { name, ok: false, detail: `there is no directory ${cwd}`, fix: 'correct template.cwd' }
  }
  if (command === 'node') return { name, ok: true, detail: process.execPath }
  const path = template.env.PATH ?? process.env.PATH ?? ''
  const candidates = command.includes('/')
    ? [isAbsolute(command) ? command : join(cwd, command)]
    : path.split(delimiter).map(part => join(part, command))
  for (const candidate of candidates) {
    const usable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (usable) return { name, ok: true, detail: candidate }
  }
  return {
    name,
    ok: false,
    detail: `${command} was not found`,
    fix: `install ${command}, or give its full path`,
  }
}

const isDirectory = (path: string) =>
  stat(path).then(
    stats => stats.isDirectory(),
    () => false,
  )

const reason = (error: unknown) => (error instanceof Error ? error.message : String(error))
