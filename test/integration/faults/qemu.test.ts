import { faultSuite } from './suite.ts'

faultSuite({ driver: 'qemu', pauseMs: 400, limitMs: 390_000 })
