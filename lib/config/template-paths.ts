/**
 * Paths in an instance's template start at the config file's directory, like every other path in the file. @pure
 * What else is in a template is its driver's.
 */
import type { DriverKind } from './config.ts'

type Template = Readonly<Record<string, unknown>>

/** Fields of each driver's template that are paths. A process starts in the config's directory unless its template says where. */
const pathFields: Record<DriverKind, readonly string[]> = {
  process: ['cwd'],
  qemu: ['kernel', 'initrd', 'disk'],
  cloud_hypervisor: ['kernel', 'initrd'],
  firecracker: ['kernel', 'initrd', 'rootfs'],
}

/** The template with its paths absolute. */
export function withAbsolutePaths(
  driver: DriverKind,
  template: Template,
  absolute: (path: string) => string,
): Template {
  const whole: Template = driver === 'process' ? { cwd: '.', ...template } : template
  const paths = pathFields[driver].flatMap(field => {
    const value = whole[field]
    return typeof value === 'string' ? [[field, absolute(value)] as const] : []
  })
  return { ...whole, ...Object.fromEntries(paths), ...located(whole.disks, absolute) }
}

/** A list of disks, each with its `path`. */
function located(disks: unknown, absolute: (path: string) => string): Template {
  if (!Array.isArray(disks)) return {}
  const at = (disk: Template) =>
    typeof disk?.path === 'string' ? { ...disk, path: absolute(disk.path) } : disk
  return { disks: disks.map(at) }
}
