/** Every key of the format is in docs/config.md, every key there exists, and every example there is good. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseConfig } from '../../../lib/config/parse.ts'
import { configSchema } from '../../../lib/config/schema.ts'
import { schemaKeys } from '../../support/schema-keys.ts'

const text = readFileSync(join(import.meta.dirname, '../../../docs/config.md'), 'utf8')
const around = { cpus: 2, memoryBytes: 1, diskBytes: 1, absolute: (path: string) => path }
const keys = schemaKeys(configSchema(around))

t.test('docs/config.md and the schema name the same keys', async t => {
  t.ok(keys.length > 50, 'the schema was walked')
  const documented = [...text.matchAll(/^\| `([a-z_[\].]+)` \|/gm)].map(match => match[1] ?? '')
  t.strictSame([...documented].sort(), [...new Set(keys)].sort())
})

t.test('every YAML block is a good config', async t => {
  const blocks = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map(match => match[1] ?? '')
  t.ok(blocks.length > 0)
  for (const block of blocks) {
    const result = parseConfig(block, { file: 'docs', directory: '/d', cpus: 2 })
    t.strictSame('faults' in result ? result.faults : [], [])
  }
})
