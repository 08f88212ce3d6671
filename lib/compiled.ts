/**
 * Compiled code kept between starts. Most of what a process takes to start is the stripping and compiling of modules, and a controller
 * that died is wanted back soon.
 *
 * Node's own cache does the work; ours is where it lies. Code that is loaded from there runs as we do: so it lies in the user's cache
 * directory, and only where nobody else may write. Whoever runs Node with NODE_COMPILE_CACHE or NODE_DISABLE_COMPILE_CACHE has decided.
 */
import { lstatSync, mkdirSync } from 'node:fs'
import { enableCompileCache, flushCompileCache, getCompileCacheDir } from 'node:module'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'

const othersWrite = 0o022

/** Before the modules that it is for are imported. Where it cannot be, all is as without it. */
export function keepCompiled(env: NodeJS.ProcessEnv = process.env): void {
  if (env.NODE_COMPILE_CACHE || env.NODE_DISABLE_COMPILE_CACHE) return
  const directory = join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tidegate', 'compiled')
  if (isAbsolute(directory) && isOurs(directory)) enableCompileCache(directory)
}

/** Writes what this thread has compiled so far: who is killed writes nothing at its end. */
export function writeCompiled(): void {
  if (getCompileCacheDir() !== undefined) flushCompileCache()
}

/** For a worker, which goes by its environment only. */
export function compiledEnv(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const directory = getCompileCacheDir()
  // Node's answer is a directory of this version of itself, inside ours.
  return directory === undefined ? env : { ...env, NODE_COMPILE_CACHE: dirname(directory) }
}

function isOurs(directory: string): boolean {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const { mode, uid } = lstatSync(directory)
    return uid === process.getuid?.() && (mode & othersWrite) === 0
  } catch {
    return false
  }
}
