/** The guest's environment: a file in an instance's directory, and in a snapshot's, with the agent's token in it. @pure */
export const environmentName = 'env'

/** As lines that its shell reads. Values may hold anything but NUL. */
export function environmentFile(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join('')
}
