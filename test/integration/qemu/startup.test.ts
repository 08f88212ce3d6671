/** A template that cannot work is refused before anything listens, in words that say what to do, and leaves nothing behind. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Config } from '../../../lib/config/config.ts'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'

const withTemplate = (config: Config, template: Record<string, unknown>): Config => ({
  ...config,
  clusters: config.clusters.map(cluster => ({ ...cluster, instance: { ...cluster.instance!, template } })),
})

t.test('an image that is missing', async t => {
  const { config, directory } = await demoCluster(t, { driver: 'qemu' })
  const initrd = join(directory, 'nowhere.gz')
  const broken = withTemplate(config, { ...config.clusters[0]!.instance!.template, initrd })
  await t.rejects(startServer(broken, { log: silentLog }), {
    code: 'image_missing',
    message: /nowhere\.gz cannot be read; build the image with: node examples\/vm\/build-image\.ts/,
  })
  t.notOk(existsSync(join(directory, 'local/instances')), 'nothing was made')
  // The same store again: the failed start let go of it.
  await t.rejects(startServer(broken, { log: silentLog }), { code: 'image_missing' })
})

t.test('a field that the driver does not know', async t => {
  const { config } = await demoCluster(t, { driver: 'qemu' })
  const broken = withTemplate(config, { ...config.clusters[0]!.instance!.template, kernal: '/boot/vmlinuz' })
  await t.rejects(startServer(broken, { log: silentLog }), { code: 'template_invalid', message: /kernal/ })
})
