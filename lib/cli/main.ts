#!/usr/bin/env node
/** The command line's entry. What it runs is imported when compiled code of former starts can be had. */
import { keepCompiled } from '../compiled.ts'

// A reader that has gone (`tidegate status | head -1`) is no failure.
process.stdout.on('error', error => {
  if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(0)
  throw error
})
keepCompiled()
const { processIo, run } = await import('./run.ts')
process.exitCode = await run(process.argv.slice(2), processIo)
