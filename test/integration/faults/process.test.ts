import { faultSuite } from './suite.ts'

faultSuite({ driver: 'process', pauseMs: 50 })
