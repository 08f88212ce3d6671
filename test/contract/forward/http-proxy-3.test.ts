import { createHttpProxy3 } from '../../../lib/proxy/forward/http-proxy-3.ts'
import { forwardConformance } from './conformance.ts'

forwardConformance('http-proxy-3', createHttpProxy3)
