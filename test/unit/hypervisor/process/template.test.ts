import t from 'tap'
import { parseOptions, parseTemplate } from '../../../../lib/hypervisor/process/template.ts'

t.test('a good template', async t => {
  t.same(parseTemplate({ command: ['node', 'app.js'] }), { command: ['node', 'app.js'], env: {}, cwd: null })
  const full = { command: ['sh', '-c', ''], env: { MODE: 'demo', EMPTY: '' }, cwd: '/srv' }
  t.same(parseTemplate(full), full)
})

t.test('every fault is named, all at once', async t => {
  const faults: readonly (readonly [Record<string, unknown>, readonly RegExp[]])[] = [
    [{}, [/command: give a list/]],
    [{ command: 'node app.js' }, [/command: give a list/]],
    [{ command: [] }, [/command: give a list/]],
    [{ command: [''] }, [/command\[0\]/]],
    [{ command: ['node', 8080] }, [/command\[1\].*quote/]],
    [{ command: ['node\0'] }, [/command\[0\]/]],
    [{ command: Array(257).fill('x') }, [/at most 256/]],
    [{ command: ['x'], env: ['A'] }, [/env: give names/]],
    [{ command: ['x'], env: { 'A B': 'x' } }, [/env\.A B: not a name/]],
    [{ command: ['x'], env: { PORT: '1' } }, [/env\.PORT: Tidegate sets/]],
    [{ command: ['x'], env: { TIDEGATE_GUEST_PORT: '1' } }, [/Tidegate sets/]],
    [{ command: ['x'], env: { A: 1 } }, [/env\.A: .*quote/]],
    [{ command: ['x'], cwd: 3 }, [/cwd: give a directory/]],
    [
      { comand: ['x'], env: { A: true }, cwd: '' },
      [/comand: there is no such field/, /command:/, /env\.A/, /cwd/],
    ],
  ]
  for (const [template, patterns] of faults) {
    t.throws(() => parseTemplate(template), { code: 'template_invalid', details: { faults: patterns } })
    for (const pattern of patterns) t.throws(() => parseTemplate(template), pattern)
  }
})

t.test('options', async t => {
  t.same(parseOptions({}), { startTimeoutMs: 30_000 })
  t.same(parseOptions({ start_timeout_ms: 500 }), { startTimeoutMs: 500 })
  for (const bad of [99, 600_001, 1.5, '500', null]) {
    t.throws(() => parseOptions({ start_timeout_ms: bad }), { code: 'invalid_config' }, String(bad))
  }
  t.throws(() => parseOptions({ timeout: 1 }), { code: 'invalid_config', message: /timeout/ })
})
