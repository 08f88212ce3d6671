/** Plain values of the file as the rules read them: groups, lists of groups, faults with a path. @pure */
import type { ShapeFault } from '../schema.ts'

export type Path = readonly (string | number)[]
export type Group = Readonly<Record<string, unknown>>

export const isGroup = (value: unknown): value is Group =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Items that are not groups keep their place, so that paths stay true. */
export const items = (value: unknown): Group[] =>
  Array.isArray(value) ? value.map(item => (isGroup(item) ? item : {})) : []

export const fault = (path: Path, message: string, fix: string): ShapeFault => ({
  path,
  at: 'value',
  message,
  fix,
})
