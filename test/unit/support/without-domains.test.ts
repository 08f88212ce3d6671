import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const preload = join(import.meta.dirname, '../../support/without-domains.ts')

/** Ends as the file does that `npm test` starts. */
function ends(text: string): { readonly code: number | null; readonly said: string } {
  // Where `tap` is found.
  const directory = mkdtempSync(join(import.meta.dirname, '../../../node_modules/.cache/'))
  try {
    const file = join(directory, 'one.mjs')
    writeFileSync(file, `import t from 'tap'\n${text}\n`)
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', preload, file], {
      encoding: 'utf8',
      timeout: 60_000,
    })
    return { code: status, said: stdout + stderr }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

t.test('an error that nobody catches fails its file, and is told', async t => {
  const thrown = ends("t.test('a', () => new Promise(() => setTimeout(() => { throw new Error('lost') })))")
  t.not(thrown.code, 0)
  t.match(thrown.said, /Error: lost/)
  const rejected = ends(
    "t.test('a', async () => { Promise.reject(new Error('lost')); await new Promise(r => setTimeout(r, 50)) })",
  )
  t.not(rejected.code, 0)
  t.match(rejected.said, /not ok \d+ - lost/)
  const well = ends("t.test('a', async t => { await null; t.pass() })")
  t.equal(well.code, 0, well.said)
})
