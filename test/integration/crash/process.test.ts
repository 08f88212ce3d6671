import { crashSuite } from './suite.ts'

crashSuite({ driver: 'process', moments: ['after', 'before'], readyTimeoutMs: 30_000, limitMs: 300_000 })
