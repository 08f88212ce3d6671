/**
 * Which certificate a client gets: by the name it asks for (SNI). Exact names first, then wildcards, which stand for one label
 * (RFC 9525 §6.3); whoever asks for none of them, or for nothing, gets the first. @pure
 */
export class NameIndex<T> {
  readonly #exact = new Map<string, T>()
  /** By what comes after the `*`: `.example.com`. */
  readonly #wild = new Map<string, T>()
  readonly #first: T

  /** In the order of the configuration: where two have one name, the earlier has it. */
  constructor(entries: readonly { readonly names: readonly string[]; readonly value: T }[]) {
    this.#first = entries[0]!.value
    for (const { names, value } of entries) {
      for (const name of names) {
        const map = name.startsWith('*.') ? this.#wild : this.#exact
        const key = name.startsWith('*.') ? name.slice(1) : name
        if (!map.has(key)) map.set(key, value)
      }
    }
  }

  get first(): T {
    return this.#first
  }

  /** `asked` is the client's word: of any length and form. */
  find(asked: string): T {
    const name = asked.toLowerCase()
    const exact = this.#exact.get(name)
    if (exact !== undefined) return exact
    const dot = name.indexOf('.')
    return (dot > 0 ? this.#wild.get(name.slice(dot)) : undefined) ?? this.#first
  }
}
