/** Files that the application keeps on its disk: what a clone has of its own from the moment it was made. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export class Files {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  async put(name: string, content: Buffer): Promise<{ stored: string; directory: string }> {
    await mkdir(this.#directory, { recursive: true })
    await writeFile(join(this.#directory, name), content)
    return { stored: name, directory: this.#directory }
  }

  /** Null when there is none. */
  async get(name: string): Promise<string | null> {
    return readFile(join(this.#directory, name), 'utf8').catch(error => {
      if (error.code === 'ENOENT') return null
      throw error
    })
  }
}
