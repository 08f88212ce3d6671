/** The keys that a schema knows, as `clusters[].health.interval`: to hold documents against it. */
import type { z } from '../../lib/schema.ts'

interface Def {
  readonly type: string
  readonly shape?: Record<string, z.ZodType>
  readonly element?: z.ZodType
  readonly innerType?: z.ZodType
  readonly in?: z.ZodType
  readonly out?: z.ZodType
  readonly options?: readonly z.ZodType[]
}

export function schemaKeys(schema: z.ZodType, path = ''): string[] {
  const def = schema.def as unknown as Def
  switch (def.type) {
    case 'object':
      return Object.entries(def.shape ?? {}).flatMap(([key, child]) => {
        const own = path === '' ? key : `${path}.${key}`
        return [own, ...schemaKeys(child, own)]
      })
    case 'array':
      return def.element ? schemaKeys(def.element, `${path}[]`) : []
    case 'union':
      return [...new Set((def.options ?? []).flatMap(option => schemaKeys(option, path)))]
    case 'pipe':
      return [...new Set([def.in, def.out].flatMap(side => (side ? schemaKeys(side, path) : [])))]
    default:
      return def.innerType ? schemaKeys(def.innerType, path) : []
  }
}
