import { createRelay } from '../../../lib/proxy/forward/relay/relay.ts'
import { forwardConformance } from './conformance.ts'

forwardConformance('relay', createRelay)
