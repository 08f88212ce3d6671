import { qemuDriver, qemuResources } from '../../support/qemu-node.ts'
import { vmImage } from '../../support/vm-image.ts'
import { driverContract } from './suite.ts'

driverContract('qemu', {
  makeDriver: qemuDriver,
  template: { ...(await vmImage()), disk: true },
  disk: true,
  grows: true,
  resources: qemuResources,
  port: 8080,
  timeoutMs: 300_000,
})
