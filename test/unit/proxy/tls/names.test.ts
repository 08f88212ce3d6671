/** Which certificate a name leads to. */
import t from 'tap'
import { NameIndex } from '../../../../lib/proxy/tls/names.ts'

const index = new NameIndex([
  { names: ['first.test'], value: 'first' },
  { names: ['*.shop.test', 'shop.test', '*.com'], value: 'wild' },
  { names: ['www.shop.test', 'first.test'], value: 'exact' },
])

t.test('exact names win over wildcards, earlier certificates over later ones', async t => {
  const asked = {
    'www.shop.test': 'exact',
    'WWW.SHOP.TEST': 'exact',
    'api.shop.test': 'wild',
    'shop.test': 'wild',
    'first.test': 'first',
    'example.com': 'wild',
  }
  for (const [name, value] of Object.entries(asked)) t.equal(index.find(name), value, name)
})

t.test('whoever asks for none of them gets the first', async t => {
  const asked = [
    '',
    'a.b.shop.test',
    '.shop.test',
    '*.shop.test.',
    'shop.test.',
    'x'.repeat(10_000),
    '__proto__',
  ]
  for (const name of asked) t.equal(index.find(name), 'first', name.slice(0, 20))
})
