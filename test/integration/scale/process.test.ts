import { scaleScenario } from './scenario.ts'

scaleScenario({
  driver: 'process',
  connections: 64,
  webSockets: 20,
  pauseMs: 20,
  operationTimeoutMs: 120_000,
})
