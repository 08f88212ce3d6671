/** A disk in memory, mounted over a folder, that is full from one moment to the next and has room again: its size is what changes. Needs root. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, statfsSync } from 'node:fs'

const sizeMiB = 4_096

export class SmallDisk {
  readonly #folder: string
  readonly #spareBytes: number

  /** `spareBytes` are left when it is full. */
  constructor(folder: string, spareBytes: number) {
    this.#folder = folder
    this.#spareBytes = spareBytes
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.#mount('-t', 'tmpfs', '-o', `size=${sizeMiB}m,mode=0700`, 'tmpfs', folder)
  }

  /** A tmpfs counts pages; with less than it holds it takes nothing more, and one page is the least that it can be given. */
  fill(): void {
    const { bsize, blocks, bfree } = statfsSync(this.#folder)
    const bytes = Math.max(1, blocks - bfree) * bsize + this.#spareBytes
    this.#mount('-o', `remount,size=${bytes}`, this.#folder)
  }

  empty(): void {
    this.#mount('-o', `remount,size=${sizeMiB}m`, this.#folder)
  }

  /** What still has a file of it open keeps that. */
  remove(): void {
    spawnSync('umount', ['--lazy', this.#folder])
  }

  #mount(...words: readonly string[]): void {
    const { status, stderr } = spawnSync('mount', words, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`no small disk can be mounted (root can): ${stderr}`)
  }
}
