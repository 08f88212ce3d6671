/** What the house looks like: sizes, headers, the plain front, documents that do not drift. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { errorTable } from '../../lib/errors.ts'
import { root, sources } from './sources.ts'

const linesMax = 400
const own = sources('lib', 'routes')

t.test('files are small and say what they are', async t => {
  for (const { path, text } of own) {
    t.ok(text.split('\n').length <= linesMax + 1, `${path} has at most ${linesMax} lines`)
    t.match(text, /^(#!.*\n)?\/\*\*/, `${path} begins with a header comment`)
  }
})

t.test('no stub, no debt marker, no focused or skipped test', async t => {
  for (const { path, text } of sources('lib', 'routes', 'test', 'bench', 'examples')) {
    if (path.startsWith('test/style/')) continue
    t.notMatch(text, /\b(TODO|FIXME|XXX)\b|not implemented/i, path)
    t.notMatch(text, /\b(t|test|it|describe)\.(skip|todo|only)\b|\{ *(skip|todo): *(true|['"])/, path)
  }
})

t.test('the product follows no promises: `npm test` keeps its hooks from who would', async t => {
  for (const { path, text } of sources('lib', 'routes')) t.notMatch(text, /\bcreateHook\b/, path)
})

t.test("nothing names a machine's paths", async t => {
  for (const { path, text } of sources('lib', 'routes', 'test', 'bench', 'examples')) {
    if (path.startsWith('test/style/')) continue
    t.notMatch(text, /\/work\/|\/root\/|\/home\/\w+\//, path)
  }
})

t.test('the front of the house is plain', async t => {
  const front = ['README.md', 'package.json', 'tsconfig.json', 'certs', 'lib', 'routes', 'test']
  const beside = [
    'bench',
    'examples',
    'docs',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'LICENSE',
    'package-lock.json',
    'biome.json',
  ]
  const ignored = ['node_modules', 'state', 'dist']
  for (const name of front) t.ok(existsSync(join(root, name)), name)
  const seen = readdirSync(root).filter(name => !name.startsWith('.') && !ignored.includes(name))
  t.strictSame(
    seen.filter(name => !front.includes(name) && !beside.includes(name)),
    [],
  )
})

t.test("the README's tree names every room", async t => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const rooms = readdirSync(join(root, 'lib'), { withFileTypes: true })
  for (const room of rooms)
    if (room.isDirectory()) t.match(readme, new RegExp(`\\b${room.name}/`), `lib/${room.name}`)
})

t.test('every error code is documented, and no other', async t => {
  const text = readFileSync(join(root, 'docs/errors.md'), 'utf8')
  const documented = [...text.matchAll(/^\| `([a-z_]+)` \| (\d{3}) \|/gm)].map(
    ([, code, status]) => `${code} ${status}`,
  )
  const codes = Object.entries(errorTable).map(([code, { status }]) => `${code} ${status}`)
  t.strictSame(documented.sort(), codes.sort())
})

t.test('links between documents lead somewhere', async t => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    ...readdirSync(join(root, 'docs'), { recursive: true }).map(name => `docs/${name}`),
  ]
  for (const document of documents.filter(name => name.endsWith('.md'))) {
    const text = readFileSync(join(root, document), 'utf8')
    for (const [, target] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      t.ok(existsSync(join(root, document, '..', target!)), `${document} → ${target}`)
    }
  }
})

t.test('the tests that docs/pitfalls.md names are there', async t => {
  const page = readFileSync(join(root, 'docs/pitfalls.md'), 'utf8')
  const named = [...page.matchAll(/`(test\/[^`]+\.ts)` “(.+?)”(?=;| \|)/g)]
  t.ok(named.length > 30, 'it names many')
  for (const [, file, title] of named) t.ok(readFileSync(join(root, file!), 'utf8').includes(title!), title!)
})
