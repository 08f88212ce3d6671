/** Logs that a process of its own writes, also while no Tidegate runs: cut whenever somebody looks. */
import { stat, truncate } from 'node:fs/promises'

/**
 * `appended`: it is written at its end, wherever that is. Who writes on at an offset of its own leaves a hole where it was cut: then what
 * counts is what the file takes on the disk.
 */
export async function keepSmall(
  path: string,
  bytesMax: number,
  how: 'appended' | 'at an offset',
): Promise<void> {
  try {
    const { size, blocks } = await stat(path)
    if ((how === 'appended' ? size : blocks * 512) > bytesMax) await truncate(path, 0)
  } catch {
    // None yet, or gone with its instance.
  }
}
