import { crashSuite } from './suite.ts'

crashSuite({ driver: 'qemu', moments: ['after'], readyTimeoutMs: 300_000 })
