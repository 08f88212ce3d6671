import { scaleScenario } from './scenario.ts'

// One emulated CPU serves some hundred requests a second: the pause keeps the load continuous without drowning it.
scaleScenario({ driver: 'qemu', connections: 64, webSockets: 20, pauseMs: 900, operationTimeoutMs: 400_000 })
