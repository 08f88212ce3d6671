/** Whether a text is a time table as cron knows it: five fields, or six with seconds first; numbers only. What runs it is not known here. @pure */

const fields = [
  { name: 'second', from: 0, to: 59 },
  { name: 'minute', from: 0, to: 59 },
  { name: 'hour', from: 0, to: 23 },
  { name: 'day of month', from: 1, to: 31 },
  { name: 'month', from: 1, to: 12 },
  { name: 'day of week', from: 0, to: 7 },
] as const

/** What is wrong with it; null: nothing. */
export function cronFault(text: string): string | null {
  const parts = text.trim().split(/\s+/)
  if (parts.length !== 5 && parts.length !== 6) return `has ${parts.length} fields, not five or six`
  const wanted = fields.slice(6 - parts.length)
  for (const [at, part] of parts.entries()) {
    const { name, from, to } = wanted[at]!
    if (!part.split(',').every(one => isRange(one, from, to)))
      return `says \`${part}\` where the ${name} is, which is ${from} to ${to}, \`*\`, \`a-b\`, \`*/n\` or a list of these`
  }
  return null
}

function isRange(text: string, from: number, to: number): boolean {
  const match = /^(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:\/(\d{1,2}))?$/.exec(text)
  if (match === null) return false
  const [, first = String(from), last = first, step = '1'] = match
  const within = (value: string) => Number(value) >= from && Number(value) <= to
  return within(first) && within(last) && Number(first) <= Number(last) && Number(step) >= 1
}
