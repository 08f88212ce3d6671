import { scaleScenario } from './scenario.ts'

scaleScenario({
  driver: 'process',
  connections: 64,
  webSockets: 20,
  pauseMs: 20,
  operationTimeoutMs: 60_000,
  limitMs: 200_000,
})
