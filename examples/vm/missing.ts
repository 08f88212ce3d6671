/** Something the image build needs and does not find, with the command that gets it. */
export class Missing extends Error {
  readonly fix: string

  constructor(message: string, fix: string) {
    super(message)
    this.name = 'Missing'
    this.fix = fix
  }
}
