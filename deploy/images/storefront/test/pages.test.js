import assert from 'node:assert/strict'
import { test } from 'node:test'
import { safeUrl } from '../src/pages/picture.js'
import { product, variant } from './fake-medusa.js'
import { startShop } from './shop.js'

const EVIL = '"><script>alert(1)</script>\'&'

test('texts of the shop and of its products are escaped everywhere', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.region.countries = [{ iso_2: 'de' }]
  fake.products = [
    product({
      title: EVIL,
      handle: 'a"b',
      subtitle: EVIL,
      description: EVIL,
      material: EVIL,
      thumbnail: `https://img.test/${EVIL}`,
      variants: [variant({ title: EVIL }), variant({ title: `${EVIL}2` })],
    }),
  ]
  fake.options[0].name = EVIL
  fake.options[0].type.description = EVIL
  const shopper = browser()
  const handle = '/products/a%22b'
  const pages = [await shopper.get('/'), await shopper.get(handle)]
  await shopper.post(handle, { variant: fake.products[0].variants[0].id, quantity: 1 })
  pages.push(await shopper.get('/cart'), await shopper.post('/checkout', { email: EVIL, city: EVIL }))
  pages.push(await shopper.get(`/${encodeURIComponent(EVIL)}`))
  const fields = await shopper.review()
  pages.push(await shopper.get('/checkout/review'))
  pages.push(await shopper.get((await shopper.post('/checkout/review', fields)).location))
  for (const { text } of pages) {
    assert.doesNotMatch(text, /<script/)
    assert.doesNotMatch(text, /<Moss>/)
    assert.match(text, /Maple &amp; &lt;Moss&gt;/)
  }
  assert.equal(pages.at(-1).status, 200)
})

test('what is sold out is said and cannot be bought', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.products = [
    product({ handle: 'gone', variants: [variant({ stock: 0 })] }),
    product({ handle: 'partly', variants: [variant({ title: 'S', stock: 0 }), variant({ title: 'M', stock: 2 })] }),
    product({ handle: 'later', variants: [variant({ stock: 0, allow_backorder: true })] }),
  ]
  const shopper = browser()
  assert.match((await shopper.get('/')).text, /Sold out/)
  const gone = (await shopper.get('/products/gone')).text
  assert.match(gone, /Sold out/)
  assert.doesNotMatch(gone, /Add to cart/)
  const partly = (await shopper.get('/products/partly')).text
  assert.match(partly, /Only 2 left/)
  assert.match(partly, /disabled/)
  assert.match((await shopper.get('/products/later')).text, /In stock/)
  assert.equal((await shopper.buy(fake.products[0])).status, 409)
  assert.equal((await shopper.buy(fake.products[1])).status, 409)
  assert.equal(fake.carts.size, 0)
})

test('a wrong variant or quantity is answered beside the form', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  const [{ variants }] = fake.products
  for (const quantity of ['0', '-1', '1e9', '100', 'many', '']) {
    assert.equal((await shopper.post('/products/mug', { variant: variants[0].id, quantity })).status, 422)
  }
  assert.equal((await shopper.post('/products/mug', { variant: 'variant_other', quantity: 1 })).status, 422)
  const many = await shopper.buy(fake.products[0], 11)
  assert.equal(many.status, 409)
  assert.match(many.text, /not that many left/)
})

test('prices follow the currency: yen have no decimals', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.region.currency_code = 'jpy'
  fake.products = [
    product({ variants: [variant({ amount: 2500, currency: 'jpy' }), variant({ amount: 1200, currency: 'jpy' })] }),
  ]
  assert.match((await browser().get('/')).text, /From ¥1,200\s/)
  assert.match((await browser().get('/products/mug')).text, /¥2,500</)
})

test('a product without a price in the region is shown but not sold', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.products = [product({ variants: [variant({ calculated_price: null })] })]
  assert.match((await browser().get('/')).text, /Not for sale at the moment/)
  assert.doesNotMatch((await browser().get('/products/mug')).text, /Add to cart/)
})

test('a long list is cut into pages, and pages that are not there are not found', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.products = Array.from({ length: 25 }, (_, index) => product({ handle: `p${index}` }))
  const { text } = await browser().get('/')
  assert.equal(text.match(/<article/g).length, 12)
  assert.match(text, /href="\/\?page=2"/)
  assert.equal((await browser().get('/?page=3')).text.match(/<article/g).length, 1)
  for (const page of ['4', '0', '-1', 'x', '1e3']) assert.equal((await browser().get(`/?page=${page}`)).status, 404)
})

test('unknown addresses, and those of the API, are not found', async (t) => {
  const { fake, browser } = await startShop(t)
  for (const path of [
    '/nowhere',
    '/app',
    '/admin/orders',
    '/store/regions',
    '/products/none',
    '/order/x',
    '/assets/../src/main.js',
  ]) {
    assert.equal((await browser().get(path)).status, 404, path)
  }
  fake.products = []
  assert.match((await browser().get('/')).text, /nothing here yet/)
})

test('styles have an address of their content and are kept for a year', async (t) => {
  const { browser } = await startShop(t)
  const [path] = /\/assets\/style\.[0-9a-f]{12}\.css/.exec((await browser().get('/')).text)
  const style = await browser().get(path)
  assert.match(style.headers.get('cache-control'), /immutable/)
  assert.match(style.headers.get('content-type'), /text\/css/)
  const older = await browser().get('/assets/style.000000000000.css')
  assert.deepEqual([older.status, older.headers.get('cache-control')], [200, 'no-cache'])
})

test('a product without a picture gets one of its own', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.products.push(product({ title: 'Bowl', handle: 'bowl', thumbnail: '/static/bowl.webp' }))
  const { text } = await browser().get('/')
  assert.equal(text.match(/<svg class="drawing"/g).length, 1)
  assert.equal(text.match(/<img src="\/static\/bowl\.webp"/g).length, 1)
})

test('only addresses that browsers load as pictures are pictures', () => {
  assert.equal(safeUrl('/static/a.png'), '/static/a.png')
  assert.equal(safeUrl('https://img.test/a.png'), 'https://img.test/a.png')
  for (const url of ['javascript:alert(1)', 'data:image/svg+xml,x', null, undefined, 7])
    assert.equal(safeUrl(url), undefined)
})
