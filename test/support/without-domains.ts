/**
 * Loaded before a test file by `npm test`: keeps tap from following every promise. It does so to tell in which test an error was thrown that nobody
 * caught, and that costs a quarter of all the time. Such an error fails the file all the same, and is told with its stack; run
 * alone, by `node test/….test.ts`, the file says in which test it was.
 */
import hooks, { type AsyncHook } from 'node:async_hooks'
import { syncBuiltinESMExports } from 'node:module'

const inert: AsyncHook = { enable: () => inert, disable: () => inert }

// Nobody else in a test's process asks for one: `test/style` would not let the product.
hooks.createHook = () => inert
syncBuiltinESMExports()
