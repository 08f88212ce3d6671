import { crashSuite } from './suite.ts'

crashSuite({ driver: 'qemu', moments: ['after'], readyTimeoutMs: 120_000, limitMs: 390_000 })
