/**
 * Text of strangers inside JSON, as pure ASCII. @pure
 * One test of the whole string decides; almost all pass it and are used as they are. ASCII, so that a line is written byte for
 * character, and no control sequence of a client reaches the terminal of who reads the log.
 */

/** Anything but printable ASCII, and the two that JSON strings escape. */
const unsafe = /[^ !#-[\]-~]/

/** The inside of a JSON string (without its quotes) that parses back to `text`, each UTF-16 unit as it was. */
export function jsonText(text: string): string {
  return unsafe.test(text) ? escaped(text) : text
}

/** The same, of at most `charsMax` characters of the text. */
export function boundedJsonText(text: string, charsMax: number): string {
  return jsonText(text.length > charsMax ? text.slice(0, charsMax) : text)
}

function escaped(text: string): string {
  let result = ''
  let from = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code >= 0x20 && code <= 0x7e && code !== 0x22 && code !== 0x5c) continue
    result += text.slice(from, i)
    result += code === 0x22 || code === 0x5c ? `\\${text[i]}` : `\\u${code.toString(16).padStart(4, '0')}`
    from = i + 1
  }
  return result + text.slice(from)
}

/** Milliseconds with three decimals at most, as JSON; faster than a number's own text. */
export function millisText(ms: number): string {
  const micros = Math.round(ms * 1000)
  // Beyond what fits a small integer, and for what is not a number, the slow way.
  if (!(micros >= 0 && micros < 2 ** 30)) return Number.isFinite(ms) && ms > 0 ? String(micros / 1000) : '0'
  const whole = (micros / 1000) | 0
  const rest = micros - whole * 1000
  return rest === 0 ? String(whole) : `${whole}.${rest < 10 ? `00${rest}` : rest < 100 ? `0${rest}` : rest}`
}
