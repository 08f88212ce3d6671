/**
 * `npm start`: the demo. An application with in-memory sessions behind the front door, scaled by cloning it with its memory.
 * Everything it makes lives in a temporary folder and ends with it. `--port` and `--admin-port` move the two addresses.
 */
import { runDemo } from './demo-runner.ts'

process.exitCode = await runDemo({ config: 'tidegate.yaml', argv: process.argv.slice(2) })
