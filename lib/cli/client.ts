/**
 * The admin API as the verbs use it: one request, one answer, with a deadline. It repeats nothing by itself.
 * Errors of the API become `CliError`s with exit 1; an API that cannot be reached is exit 3.
 */
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Clock } from '../clock.ts'
import { CliError, type Context } from './io.ts'

const answerBytesMax = 64 * 1024 * 1024
const timeoutMsDefault = 30_000

export interface Call {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly body?: unknown
  readonly timeoutMs?: number
}

interface Answer {
  readonly status: number
  readonly text: string
}

export class AdminClient {
  readonly url: URL
  readonly #token: string | null
  readonly #clock: Clock

  /** Exit 2 when `admin` is not a URL. */
  constructor({ admin, token, io }: Context) {
    if (!URL.canParse(admin) || !/^https?:$/.test(new URL(admin).protocol))
      throw new CliError(
        2,
        'invalid_request',
        `${admin} is not a URL of an admin API; write it as http://127.0.0.1:9090.`,
      )
    this.url = new URL(admin)
    this.#token = token
    this.#clock = io.clock
  }

  async get<T>(path: string, timeoutMs?: number): Promise<T> {
    return this.call<T>(path, timeoutMs === undefined ? {} : { timeoutMs })
  }

  async post<T>(path: string, body?: unknown, timeoutMs?: number): Promise<T> {
    return this.call<T>(path, { method: 'POST', body, ...(timeoutMs === undefined ? {} : { timeoutMs }) })
  }

  async call<T>(path: string, call: Call): Promise<T> {
    const { status, text } = await this.#send(path, call)
    const value = parse(text)
    if (status >= 200 && status < 300) {
      if (value === undefined && text !== '')
        throw new CliError(
          3,
          'internal',
          `${this.url.origin} answered, but not with JSON: is it a Tidegate admin address?`,
        )
      return value as T
    }
    const error = (value as { error?: { code?: string; message?: string; details?: object } } | undefined)
      ?.error
    if (!error?.code)
      throw new CliError(
        3,
        'internal',
        `${this.url.origin} answered ${status}, but not as a Tidegate admin address does.`,
      )
    throw new CliError(1, error.code, error.message ?? error.code, { ...error.details, status })
  }

  /** The address of the event stream, and what to send along. */
  events(since: number): { readonly url: string; readonly headers: Record<string, string> } {
    const url = new URL('/api/v1/events', this.url)
    url.protocol = this.url.protocol === 'https:' ? 'wss:' : 'ws:'
    url.searchParams.set('since', String(since))
    return { url: url.href, headers: this.#headers() }
  }

  #headers(): Record<string, string> {
    return {
      'user-agent': 'tidegate-cli/1',
      accept: 'application/json',
      ...(this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }),
    }
  }

  #send(path: string, { method = 'GET', body, timeoutMs = timeoutMsDefault }: Call): Promise<Answer> {
    const url = new URL(path, this.url)
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const headers = {
      ...this.#headers(),
      ...(payload === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }),
    }
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'https:' ? httpsRequest : httpRequest
      const request = send(url, { method, headers, agent: false }, response => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes > answerBytesMax) request.destroy(new Error('the answer is too large'))
          else chunks.push(chunk)
        })
        response.on('end', () => {
          cancel()
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') })
        })
        response.on('error', fail)
      })
      const cancel = this.#clock.after(timeoutMs, () =>
        request.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)),
      )
      const fail = (error: Error) => {
        cancel()
        reject(unreachable(this.url, error))
      }
      request.on('error', fail)
      request.end(payload)
    })
  }
}

export const segment = (text: string): string => encodeURIComponent(text)

function unreachable(url: URL, error: Error): CliError {
  const reason = (error as NodeJS.ErrnoException).code ?? error.message
  return new CliError(
    3,
    'unreachable',
    `cannot reach ${url.origin} (${reason}): is \`tidegate serve\` running? (--admin URL names another address)`,
    { admin: url.origin, reason },
  )
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return undefined
  }
}
