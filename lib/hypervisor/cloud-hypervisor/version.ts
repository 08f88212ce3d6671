/** Which Cloud Hypervisor this driver works with, and how versions are written. @pure */
import { TidegateError } from '../../errors.ts'

export interface Version {
  readonly major: number
  readonly minor: number
  readonly text: string
}

/** The first that is told what kind of image a disk is; one that guesses may be led by what the guest writes to it. */
export const versionMin = 51

/** `v53.0`, `53.0.0`, `v52.0-12-gabcdef`, `cloud-hypervisor v53.0`. Null when it is none of these. */
export function parseVersion(text: string): Version | null {
  const match = /^(?:cloud-hypervisor )?v?((\d{1,5})\.(\d{1,5}).*)/.exec(text.trim())
  return match ? { major: Number(match[2]), minor: Number(match[3]), text: match[1]! } : null
}

/** Throws `hypervisor_unsupported`. What does not say which it is is not believed to be able to do anything. */
export function requireSupported(text: string): Version {
  const version = parseVersion(text)
  if (version !== null && version.major >= versionMin) return version
  const found = version?.text ?? (JSON.stringify(text.slice(0, saidCharsMax)) || 'nothing')
  throw new TidegateError(
    'hypervisor_unsupported',
    `Cloud Hypervisor ${versionMin}.0 or later is needed, and this one says that it is ${found}; ` +
      'install another and name it in nodes[].options.binary',
    { details: { field: 'nodes[].options.binary', version: found } },
  )
}

const saidCharsMax = 100
