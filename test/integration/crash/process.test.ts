import { crashSuite } from './suite.ts'

crashSuite({ driver: 'process', moments: ['after', 'before'], readyTimeoutMs: 120_000 })
