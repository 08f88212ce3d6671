import { faultSuite } from './suite.ts'

faultSuite({ driver: 'qemu', pauseMs: 400 })
