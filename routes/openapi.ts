/**
 * The OpenAPI 3.1 document, made from the endpoints that are served. @pure
 * It adds nothing of its own but the errors that every endpoint may answer.
 */
import { type ErrorCode, errorTable } from '../lib/errors.ts'
import { z } from '../lib/schema.ts'
import { type AnswerDescription, type Endpoint, endpoint } from './endpoint.ts'
import { errorShape } from './shapes.ts'

type Json = Record<string, unknown>

/** `GET /openapi.json`, which lists itself too. */
export function openapiEndpoint(others: readonly Endpoint[]): Endpoint {
  const own: Endpoint = endpoint({
    id: 'openapi',
    method: 'GET',
    path: '/openapi.json',
    summary: 'This document',
    answers: { 200: { description: 'OpenAPI 3.1.', shape: z.looseObject({ openapi: z.string() }) } },
    errors: [],
    handle: () => ({ status: 200, body: document }),
  })
  const document = openapiDocument([...others, own])
  return own
}

export function openapiDocument(endpoints: readonly Endpoint[]): Json {
  const paths: Record<string, Json> = {}
  for (const one of endpoints) {
    const path = paths[one.path] ?? {}
    path[one.method.toLowerCase()] = operation(one)
    paths[one.path] = path
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tidegate admin API',
      version: '1',
      description: 'JSON in and out. Every error is `{ "error": { "code", "message", "details" } }`.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    paths,
    components: { schemas: { Error: schemaOf(errorShape, 'output') } },
  }
}

function operation(one: Endpoint): Json {
  const parameters = [...pathParameters(one.path), ...queryParameters(one)]
  const optional = one.body?.safeParse(undefined).success ?? true
  return {
    operationId: one.id,
    summary: one.summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(one.body
      ? { requestBody: { required: !optional, content: jsonContent(schemaOf(one.body, 'input')) } }
      : {}),
    responses: responses(one),
  }
}

const pathParameters = (path: string): Json[] =>
  [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))

function queryParameters({ query }: Endpoint): Json[] {
  if (!query) return []
  const { properties = {} } = schemaOf(query, 'input') as { properties?: Record<string, Json> }
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: false,
    ...(description === undefined ? {} : { description }),
    // On the wire it is text; a default is said in the description.
    schema: { type: 'string', ...(schema.pattern === undefined ? {} : { pattern: schema.pattern }) },
  }))
}

function responses(one: Endpoint): Json {
  const result: Json = {}
  for (const [status, answer] of Object.entries(one.answers))
    result[status] = { description: answer.description, ...contentOf(answer) }
  const always: ErrorCode[] = ['forbidden', 'internal']
  if (one.method !== 'GET' || one.query) always.push('invalid_request')
  if (one.method !== 'GET') always.push('payload_too_large', 'unsupported_media_type')
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of new Set([...one.errors, ...always])) {
    const { status } = errorTable[code]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  for (const [status, codes] of [...byStatus].sort(([a], [b]) => a - b)) {
    if (result[status]) continue
    const content = jsonContent({ $ref: '#/components/schemas/Error' })
    result[status] = { description: codes.map(code => `\`${code}\``).join(', '), content }
  }
  return result
}

function contentOf({ shape, mediaType }: AnswerDescription): Json {
  if (shape) return { content: jsonContent(schemaOf(shape, 'output')) }
  return mediaType ? { content: { [mediaType]: { schema: { type: 'string' } } } } : {}
}

const jsonContent = (schema: Json): Json => ({ 'application/json': { schema } })

/** zod's JSON Schema is of the 2020-12 draft, which is OpenAPI 3.1's own. */
function schemaOf(shape: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...schema } = z.toJSONSchema(shape, { io, unrepresentable: 'any' })
  return schema
}
