/** `npm run test:crash-vm`: SIGKILL after every journal entry of scale_out and scale_in on real VMs. `npm test` has the entries that matter to them. */
import { crashSuite } from './suite.ts'

crashSuite({ driver: 'qemu', moments: ['after'], readyTimeoutMs: 300_000 })
