/** What a store and its thread say to each other. @pure */
import { type ErrorCode, TidegateError } from '../errors.ts'
import type { SqliteOptions } from './sqlite-file.ts'
import type { Store } from './store.ts'

/** What the thread is begun with. */
export interface Opening {
  readonly path: string
  readonly options: SqliteOptions
}

export type Method = keyof Store

/** Answered in the order in which they were asked. */
export type Call = {
  readonly [M in Method]: { readonly id: number; readonly method: M; readonly args: Parameters<Store[M]> }
}[Method]

/** `id` 0: of the opening itself. */
export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: ErrorOnWire }

/** An error does not travel between threads as what it is. */
export interface ErrorOnWire {
  readonly code: ErrorCode
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
}

export const openingId = 0

export const toWire = ({ code, message, details }: TidegateError): ErrorOnWire => ({ code, message, details })

export const fromWire = ({ code, message, details }: ErrorOnWire): TidegateError =>
  new TidegateError(code, message, { details })
