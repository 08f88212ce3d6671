/** The OpenAPI document says what is served, and what is served is what it says. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { check } from '../../../lib/schema.ts'
import { endpoints } from '../../../routes/api.ts'
import { startAdmin } from '../../support/admin.ts'
import { aStatus } from '../../support/fake-control.ts'

const root = join(import.meta.dirname, '../../..')
const bodies: Record<string, unknown> = {
  scale_cluster: { target_count: 3 },
  replace_instance: { instance_id: 'web-1' },
  scale_deployment: { replicas: 3 },
  set_policy: { max_instances: 4 },
  resize_instance: { instance_id: 'web-1', resources: { memory: '1GiB' } },
  register_backend: { id: 'b', address: '127.0.0.1:9000' },
}
const filled = (path: string) =>
  path
    .replace('{cluster}', 'web')
    .replace('{backend}', 'a')
    .replace('{operation}', 'op1')
    .replace('{node}', 'local')

t.test('every endpoint is in the document, and nothing else is', async t => {
  const { ask } = await startAdmin(t)
  const { body } = await ask('/openapi.json')
  t.equal(body.openapi, '3.1.0')
  const listed = Object.entries<object>(body.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
  )
  t.strictSame(listed.sort(), endpoints.map(({ method, path }) => `${method} ${path}`).sort())
  const ids = endpoints.map(({ id }) => id)
  t.equal(new Set(ids).size, ids.length, 'operation ids are unique')
  const bodyOf = (path: string) => body.paths[path].post.requestBody.content['application/json'].schema
  t.strictSame(bodyOf('/api/v1/deployments/{cluster}/scale').required, ['replicas'])
  const scale = bodyOf('/api/v1/clusters/{cluster}/scale')
  t.equal(scale.required, undefined, 'one of two')
  t.match(scale.properties, {
    target_count: { type: 'integer' },
    target_cpus: { type: 'integer', minimum: 1 },
  })
  t.ok(body.paths['/api/v1/clusters/{cluster}/scale'].post.responses['409'], 'errors are described')
  t.notOk(body.paths['/api/v1/clusters/{cluster}/backends/{backend}/drain'].post.requestBody.required)
})

t.test('every endpoint that is described is served, with an answer of the described shape', async t => {
  const { ask } = await startAdmin(t)
  for (const one of endpoints.filter(({ id }) => id !== 'stream_events')) {
    const body = bodies[one.id]
    const answer = await ask(filled(one.path), {
      method: one.method,
      ...(body === undefined ? {} : { body }),
    })
    const described = one.answers[answer.status]
    t.ok(described, `${one.id}: ${answer.status} is described`)
    if (described?.shape)
      t.strictSame(check(described.shape, answer.body), { ok: true, value: answer.body }, one.id)
  }
})

t.test('the other answers have the described shape too', async t => {
  const { ask, control } = await startAdmin(t)
  const of = (id: string, status: number) => {
    const shape = endpoints.find(one => one.id === id)?.answers[status]?.shape
    if (!shape) throw new Error(`${id} ${status} has no shape`)
    return shape
  }
  const scale = '/api/v1/clusters/web/scale'
  const waited = await ask(`${scale}?wait=1s`, { method: 'POST', body: { target_count: 3 } })
  t.ok(check(of('scale_cluster', 200), waited.body).ok, 'ended')
  control.onExecute = () => ({ result: 'unchanged', cluster: aStatus(), message: 'Already.' })
  const unchanged = await ask(scale, { method: 'POST', body: { target_count: 3 } })
  t.ok(check(of('scale_cluster', 200), unchanged.body).ok, 'unchanged')
  control.isReady = false
  t.ok(check(of('readiness', 503), (await ask('/readyz')).body).ok, 'not ready')
})

t.test('docs/api.md has every endpoint', async t => {
  const text = readFileSync(join(root, 'docs/api.md'), 'utf8')
  for (const { method, path } of endpoints) t.ok(text.includes(`\`${method} ${path}\``), `${method} ${path}`)
  const documented = [...text.matchAll(/^### `([A-Z]+ [^`]+)`/gm)].map(match => match[1])
  t.strictSame(documented.sort(), endpoints.map(({ method, path }) => `${method} ${path}`).sort())
})
