/** The page a browser sees. @pure */

export interface PageFacts {
  readonly instance_id: string
  readonly incarnation: string
  readonly sid: string
  readonly visits: number
  readonly sessions: number
  readonly started_at: string
}

export function page(facts: PageFacts): string {
  const rows = [
    ['Instance', facts.instance_id],
    ['Running since', facts.started_at],
    ['Your session', facts.sid],
    ['Your visits', String(facts.visits)],
    ['Sessions in memory', String(facts.sessions)],
  ]
  const table = rows
    .map(([name, value]) => `<tr><th>${name}</th><td>${escaped(value!)}</td></tr>`)
    .join('\n      ')
  const list = tries.map(([what, how]) => `<li>${what}<br><code>${escaped(how)}</code></li>`).join('\n      ')
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Tidegate demo</title>
    <style>
      :root { color-scheme: light dark }
      body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
      th { text-align: left; font-weight: 500; padding-right: 2rem; vertical-align: top; opacity: .7 }
      td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
      li { margin-bottom: .6rem }
      code { font-size: .9em; overflow-wrap: anywhere }
    </style>
  </head>
  <body>
    <h1>You are on ${escaped(facts.instance_id)}</h1>
    <p>This application keeps its sessions in memory only. Reload: the visits grow, and you stay on this instance.</p>
    <table>
      ${table}
    </table>
    <h2>Try</h2>
    <ol>
      ${list}
    </ol>
  </body>
</html>
`
}

const tries: readonly (readonly [string, string])[] = [
  [
    'Store a value, then read it.',
    'curl -d hello 127.0.0.1:8080/sessions/one; curl 127.0.0.1:8080/sessions/one',
  ],
  ['Grow to three instances. Each clone has every session.', 'npm run tidegate -- scale demo --to 3'],
  [
    'See which instance answers a client without a cookie.',
    'for i in 1 2 3 4; do curl -s 127.0.0.1:8080/whoami; done',
  ],
  ['Watch the backends.', 'npm run tidegate -- status demo'],
  ['Shrink again. Your visits stay, if your instance does.', 'npm run tidegate -- scale demo --to 1'],
]

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, character => entities[character] ?? character)
