/** What names the machine that it runs in, where that is the instance's own: elsewhere it is nobody's business. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

const sectorBytes = 512

export function machineFacts() {
  if (process.env.TIDEGATE_GUEST_VM !== '1') return { host_name: null, machine_id: null, disk_bytes: null }
  const sectors = textOf('/sys/block/vda/size')
  return {
    host_name: hostname(),
    machine_id: textOf('/etc/machine-id'),
    disk_bytes: sectors === null ? null : Number(sectors) * sectorBytes,
  }
}

/** Null where there is none. */
function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return null
  }
}
