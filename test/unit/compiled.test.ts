import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)
const main = join(import.meta.dirname, '../../lib/cli/main.ts')
const compiled = join(import.meta.dirname, '../../lib/compiled.ts')

async function node(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { NODE_COMPILE_CACHE: _, ...rest } = process.env
  return (await run(process.execPath, args, { env: { ...rest, ...env } })).stdout
}

/** What is in a cache: Node makes a directory for its version, and a file for each module. */
const modulesIn = (home: string) => {
  const directory = join(home, 'tidegate/compiled')
  if (!existsSync(directory)) return 0
  return readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
    .length
}

t.test('a verb leaves what it compiled in the user’s cache, for nobody else to write', async t => {
  const home = t.testdir({})
  await node([main, '--version'], { XDG_CACHE_HOME: home })
  t.ok(modulesIn(home) > 10, `${modulesIn(home)} modules`)
  t.equal(statSync(join(home, 'tidegate/compiled')).mode & 0o777, 0o700)
})

t.test('where others may write nothing is kept, and nothing is loaded', async t => {
  const home = t.testdir({})
  const directory = join(home, 'tidegate/compiled')
  mkdirSync(directory, { recursive: true })
  chmodSync(directory, 0o777)
  t.match(await node([main, '--version'], { XDG_CACHE_HOME: home }), /^\d+\./)
  t.equal(modulesIn(home), 0)
})

t.test('a home that is a file, or Node told otherwise: as without it', async t => {
  const home = t.testdir({ file: '' })
  t.match(await node([main, '--version'], { XDG_CACHE_HOME: join(home, 'file') }), /^\d+\./)
  await node([main, '--version'], { XDG_CACHE_HOME: home, NODE_DISABLE_COMPILE_CACHE: '1' })
  t.equal(modulesIn(home), 0)
})

t.test('a worker goes by the same directory', async t => {
  const home = t.testdir({})
  const script = `
    import { getCompileCacheDir } from 'node:module'
    import { Worker } from 'node:worker_threads'
    import { compiledEnv, keepCompiled } from ${JSON.stringify(compiled)}
    keepCompiled()
    const tell = "process.getBuiltinModule('node:worker_threads').parentPort.postMessage(process.getBuiltinModule('node:module').getCompileCacheDir())"
    const worker = new Worker(tell, { eval: true, env: compiledEnv() })
    worker.on('message', told => console.log(told === getCompileCacheDir(), told))`
  const told = await node(['--input-type=module', '-e', script], { XDG_CACHE_HOME: home })
  t.match(told, /^true /)
  t.ok(told.includes(join(home, 'tidegate/compiled')))
})
