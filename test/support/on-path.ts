/** Whether a program is there to be run. */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export function onPath(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some(folder => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
