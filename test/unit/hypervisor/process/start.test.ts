/** How an instance of the process driver starts, and how it fails to. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { identity, owner } from '../../../support/driver-bench.ts'
import { benchOf } from '../../../support/process-apps.ts'

const name = 'web-op1-1'

t.test('the record is on disk when the process begins', async t => {
  const bench = benchOf(
    t,
    `
    const directory = process.env.TIDEGATE_GUEST_TOKEN_FILE.slice(0, -'/token'.length)
    write(readFileSync(directory + '/owner.json', 'utf8'))
    serve()
  `,
  )
  await bench.driver.create(bench.spec(name), bench.signal())
  const seen = JSON.parse(readFileSync(join(bench.directory, 'said'), 'utf8'))
  t.match(seen, { version: 1, name, owner })
  await bench.driver.destroy(name)
})

t.test('it gets what it needs of our environment, and no secret', async t => {
  process.env.TIDEGATE_TOKEN = 'secret'
  t.teardown(() => {
    delete process.env.TIDEGATE_TOKEN
  })
  const bench = benchOf(t, 'write(JSON.stringify(process.env)); serve()')
  const spec = bench.spec(name)
  await bench.driver.create(
    { ...spec, template: { ...spec.template, env: { MODE: 'demo' } } },
    bench.signal(),
  )
  const env = JSON.parse(readFileSync(join(bench.directory, 'said'), 'utf8'))
  t.match(env, { MODE: 'demo', HOST: '127.0.0.1', PORT: /^\d+$/, PATH: process.env.PATH })
  t.notOk('TIDEGATE_TOKEN' in env)
  await bench.driver.destroy(name)
})

t.test('a port that was taken in between is tried again, with another', async t => {
  const bench = benchOf(
    t,
    `
    write(process.env.PORT)
    if (readFileSync(import.meta.dirname + '/said', 'utf8').trim().split('\\n').length < 3) {
      throw new Error('listen EADDRINUSE')
    }
    serve()
  `,
  )
  const { address } = await bench.driver.create(bench.spec(name), bench.signal())
  const ports = readFileSync(join(bench.directory, 'said'), 'utf8').trim().split('\n')
  t.equal(ports.length, 3)
  t.equal(String(address?.port), ports.at(-1))
  await bench.driver.destroy(name)
})

t.test('one that ends while it starts says why, with the end of its log', async t => {
  const bench = benchOf(t, `console.log('no database'); process.exit(3)`)
  await t.rejects(bench.driver.create(bench.spec(name), bench.signal()), {
    code: 'instance_died',
    message: /exit code 3.*no database/,
  })
  t.same(bench.files('instances'), [], 'nothing is left')
})

t.test('one that neither listens nor has an agent fails at the deadline', async t => {
  const bench = benchOf(t, 'setInterval(() => {}, 1000)', { start_timeout_ms: 400 })
  await t.rejects(bench.driver.create(bench.spec(name), bench.signal()), {
    code: 'instance_unhealthy',
    message: /PORT.*400 ms/,
  })
  t.same(bench.processes(), [], 'and does not run on')
  t.same(bench.files('instances'), [], 'nothing is left')
})

t.test('a command that is not there, a folder that is not there', async t => {
  const bench = benchOf(t, '')
  const spec = bench.spec(name)
  for (const template of [
    { command: ['no-such-program-here'] },
    { ...spec.template, cwd: '/no/such/folder' },
  ]) {
    await t.rejects(bench.driver.create({ ...spec, template }, bench.signal()), {
      code: 'template_invalid',
      message: /no.such/,
    })
    const checked = await bench.driver.check(template)
    t.match(checked.at(-1), { ok: false, detail: /no.such/, fix: /./ })
  }
  t.same(bench.files('instances'), [], 'nothing is left')
})

t.test('a folder too deep for a socket has its socket elsewhere, and it goes with the instance', async t => {
  const bench = benchOf(t, 'write(process.env.TIDEGATE_GUEST_SOCKET); guest(); serve()')
  const deep = bench.options.makeDriver(join(bench.directory, 'd'.repeat(90)))
  await deep.create(bench.spec(name), bench.signal())
  const socket = readFileSync(join(bench.directory, 'said'), 'utf8').trim()
  t.ok(socket.length < 107 && existsSync(socket), socket)
  t.equal((await deep.identify(name, identity(name, 'created'), bench.signal())).application, 'no_hook')
  await deep.destroy(name)
  t.notOk(existsSync(socket))
})

t.test('an application that refuses its identity', async t => {
  const bench = benchOf(t, `guest({ identified: () => { throw new Error('I am somebody') } }); serve()`)
  await bench.driver.create(bench.spec(name), bench.signal())
  await t.rejects(bench.driver.identify(name, identity(name, 'created'), bench.signal()), {
    code: 'identity_refused',
    message: /I am somebody/,
  })
  await bench.driver.destroy(name)
})
