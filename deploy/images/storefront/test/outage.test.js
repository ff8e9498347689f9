import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KEY } from './fake-medusa.js'
import { ADDRESS, startShop } from './shop.js'

function assertBreak({ status, headers, text }) {
  assert.equal(status, 503)
  assert.equal(headers.get('retry-after'), '10')
  assert.match(text, /short break/)
  assert.doesNotMatch(text, /SECRET|127\.0\.0\.1|ECONN|fetch|pk_/)
}

test('with the API down pages say so kindly, and the health check stays well', async (t) => {
  const { fake, logged, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  await fake.stop()
  // The caches still have region and product, not the cart.
  assertBreak(await shopper.get('/cart'))
  assertBreak(await shopper.post('/checkout', ADDRESS))
  assert.equal((await shopper.get('/healthz')).status, 200)
  assert.match(logged.at(-1).failure, /GET \/store\/carts\/:id: ECONNREFUSED/)
})

test('an API that hangs is given up after the time limit', async (t) => {
  const { fake, logged, browser } = await startShop(t, { timeoutsMs: { read: 100, change: 100, order: 100 } })
  fake.failure = 'hang'
  const start = performance.now()
  assertBreak(await browser().get('/'))
  assert.ok(performance.now() - start < 2000)
  assert.match(logged[0].failure, /no answer in time/)
})

test('failures of the API, a refused key and a store without a region are breaks too', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.failure = 500
  assertBreak(await browser().get('/products/mug'))
  fake.failure = undefined
  const { region } = fake
  fake.region = undefined
  assertBreak(await browser().get('/'))
  fake.region = region
  assert.equal((await browser().get('/')).status, 200)

  const wrong = await startShop(t, { publishableKey: KEY.replace('0', '1') })
  assertBreak(await wrong.browser().get('/'))
  assert.match(wrong.logged[0].failure, /valid publishable key/)
})

test('an order whose outcome is unknown is neither promised nor lost', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const fields = await shopper.review()
  const complete = fake.orders.set.bind(fake.orders)
  fake.orders.set = (...order) => {
    complete(...order)
    throw { status: 500, body: {} }
  }
  // The fake breaks after it has made the order, before it has marked the cart.
  const unknown = await shopper.post('/checkout/review', fields)
  assert.equal(unknown.status, 503)
  assert.match(unknown.text, /nothing is ordered twice/)
  fake.orders.set = complete
  const again = await shopper.post('/checkout/review', fields)
  assert.deepEqual([again.status, again.location], [303, `/order/${[...fake.orders.keys()][0]}`])
  assert.equal(fake.orders.size, 1)
})

test('the log has one line for each request and nothing about the shopper', async (t) => {
  const { fake, logged, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const { location } = await shopper.post('/checkout/review', await shopper.review())
  await shopper.get(`${location}?email=ada@example.com`)
  await shopper.get('/somewhere/ada@example.com')
  await shopper.get('/healthz')
  assert.deepEqual(
    logged.map(({ method, route, status }) => `${method} ${route} ${status}`),
    [
      'POST /products/:handle 303',
      'POST /checkout 303',
      'GET /checkout/review 200',
      'POST /checkout/review 303',
      'GET /order/:id 200',
      'GET none 404',
    ],
  )
  const text = JSON.stringify(logged)
  // "ada" alone would be found in the hexadecimal ids of requests now and then.
  for (const secret of ['ada@', 'example.com', 'Lovelace', 'Berlin', 'order_', 'cart_', 'pk_', shopper.jar.get('shopper')])
    assert.ok(!text.includes(secret), secret)
})

test('region and catalogue are asked for once in a short while, at the same time too', async (t) => {
  let time = 0
  const { fake, browser } = await startShop(t, { now: () => time })
  await Promise.all([1, 2, 3, 4].map(() => browser().get('/')))
  assert.deepEqual(fake.requests.toSorted(), ['GET /store/products', 'GET /store/regions'])
  fake.products[0].title = 'New name'
  assert.doesNotMatch((await browser().get('/')).text, /New name/)
  time += 10_001
  assert.match((await browser().get('/')).text, /New name/)
})
