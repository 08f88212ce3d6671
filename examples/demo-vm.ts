/**
 * `npm run demo:vm`: the demo on real virtual machines. Builds their image on the first run (about a minute);
 * without QEMU it says in one line what to install.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { runDemo } from './demo-runner.ts'

process.exitCode = await main()

async function main(): Promise<number> {
  const missing = ['qemu-system-x86_64', 'busybox'].filter(
    name => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0,
  )
  if (missing.length > 0) {
    console.error(
      `The VM demo needs ${missing.join(', ')}: run \`npm run setup\` (Debian, Ubuntu) and try again.`,
    )
    return 1
  }
  const build = spawnSync(process.execPath, [join(import.meta.dirname, 'vm/build-image.ts')], {
    stdio: 'inherit',
  })
  if (build.status !== 0) return 1
  console.log(
    'Booting the first virtual machine; without hardware virtualisation this takes about ten seconds …',
  )
  return runDemo({ config: 'tidegate-vm.yaml', argv: process.argv.slice(2) })
}
