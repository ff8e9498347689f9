import assert from 'node:assert/strict'
import { test } from 'node:test'
import { product, variant } from './fake-medusa.js'
import { ADDRESS, startShop } from './shop.js'

test('a shopper without scripts buys something and sees the confirmation', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  const [mug] = fake.products
  assert.match((await shopper.get('/')).text, /href="\/products\/mug"/)

  const added = await shopper.buy(mug, 2)
  assert.deepEqual([added.status, added.location], [303, '/cart'])
  assert.match((await shopper.get('/cart')).text, /€30\.00/)
  assert.match((await shopper.get('/')).text, /aria-label="Cart, 2 items"/)

  const addressed = await shopper.post('/checkout', ADDRESS)
  assert.deepEqual([addressed.status, addressed.location], [303, '/checkout/review'])
  const fields = await shopper.review()
  const placed = await shopper.post('/checkout/review', fields)
  assert.equal(placed.status, 303)
  assert.match(placed.location, /^\/order\/order_/)

  const { status, text, headers } = await shopper.get(placed.location)
  assert.equal(status, 200)
  assert.match(text, /order number is <strong>1<\/strong>/)
  assert.match(text, /€35\.00/)
  assert.match(text, /Berlin/)
  assert.equal(headers.get('cache-control'), 'no-store')
  assert.match((await shopper.get('/cart')).text, /nothing in it/)
  const [order] = fake.orders.values()
  assert.equal(order.email, ADDRESS.email)
  assert.equal(order.shipping_address.company, null)
})

test('a double click places one order and both answers lead to it', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.completeMs = 50
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const fields = await shopper.review()
  const answers = await Promise.all([1, 2, 3].map(() => shopper.post('/checkout/review', fields)))
  assert.equal(fake.orders.size, 1)
  assert.equal(fake.overlaps, 0)
  const [id] = fake.orders.keys()
  for (const { status, location } of answers) assert.deepEqual([status, location], [303, `/order/${id}`])
})

test('a shopper who lost the answer finds the order when trying again', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const fields = await shopper.review()
  const cookies = new Map(shopper.jar)
  await shopper.post('/checkout/review', fields)
  for (const [name, value] of cookies) shopper.jar.set(name, value)
  const again = await shopper.get('/checkout/review')
  assert.deepEqual([again.status, again.location], [303, `/order/${[...fake.orders.keys()][0]}`])
  assert.equal(fake.orders.size, 1)
})

test('another pod that is just completing the cart is waited for', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const fields = await shopper.review()
  const complete = fake.orders.set.bind(fake.orders)
  let conflicts = 0
  fake.orders.set = (...order) => {
    if (++conflicts === 1) throw { status: 409, body: { type: 'conflict' } }
    return complete(...order)
  }
  assert.equal((await shopper.post('/checkout/review', fields)).status, 303)
  assert.equal(fake.orders.size, 1)
})

test('an order is shown to nobody else', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const { location } = await shopper.post('/checkout/review', await shopper.review())

  const nobody = await browser().get(location)
  const other = browser()
  await other.buy(fake.products[0])
  const stranger = await other.get(location)
  const missing = await other.get('/order/order_00000000000000000000000000')
  for (const { status, text } of [nobody, stranger, missing]) {
    assert.equal(status, 404)
    assert.doesNotMatch(text, /ada@example/)
  }
  assert.equal(stranger.text, missing.text)
})

test('an address is checked on the server and what was typed is kept', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const { status, text } = await shopper.post('/checkout', {
    ...ADDRESS,
    email: 'ada"@',
    city: '  ',
    country_code: 'us',
    phone: 'call me',
    address_1: 'x'.repeat(101),
  })
  assert.equal(status, 422)
  assert.match(text, /id="email-error"/)
  assert.match(text, /value="ada&quot;@"/)
  assert.match(text, /City is missing/)
  assert.match(text, /Choose a country from the list/)
  assert.match(text, /Use digits only/)
  assert.match(text, /at most 100 characters/)
  assert.match(text, /value="Lovelace"/)
  assert.equal((await shopper.get('/checkout/review')).location, '/checkout')
})

test('a country without delivery is told at the field', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.options = []
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const { status, text } = await shopper.post('/checkout', ADDRESS)
  assert.equal(status, 422)
  assert.match(text, /no delivery for these products/)
})

test('nobody pays a total they have not seen', async (t) => {
  const { fake, browser } = await startShop(t)
  const express = { ...fake.options[0], id: 'so_00000000000000000000000express', name: 'Express', amount: 12 }
  fake.options.push(express)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const fields = await shopper.review()
  const changed = await shopper.post('/checkout/review', { ...fields, option: express.id })
  assert.equal(changed.status, 409)
  assert.match(changed.text, /total is now €27\.00/)
  assert.equal(fake.orders.size, 0)
  const placed = await shopper.post('/checkout/review', { ...fields, option: express.id, total: '27' })
  assert.equal(placed.status, 303)
  assert.equal([...fake.orders.values()][0].total, 27)
})

test('an unknown way of delivery or of payment is refused', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const fields = await shopper.review()
  assert.equal((await shopper.post('/checkout/review', { ...fields, option: 'so_x/../../admin' })).status, 422)
  assert.equal((await shopper.post('/checkout/review', { ...fields, payment: 'pp_other' })).status, 422)
  assert.equal(fake.orders.size, 0)
})

test('what sold out between cart and order is said, and nothing is ordered', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const fields = await shopper.review()
  fake.products[0].variants[0].inventory_quantity = 0
  const { status, text } = await shopper.post('/checkout/review', fields)
  assert.equal(status, 409)
  assert.match(text, /Please change the cart/)
  assert.doesNotMatch(text, /SECRET-INTERNALS/)
  assert.equal(fake.orders.size, 0)
})

test('quantities in the cart change, and lines go', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.products.push(product({ title: 'Bowl', handle: 'bowl', variants: [variant({ amount: 7 })] }))
  const shopper = browser()
  await shopper.buy(fake.products[0])
  await shopper.buy(fake.products[1])
  const [cart] = fake.carts.values()
  const [mug, bowl] = cart.items
  assert.equal((await shopper.post('/cart', { line: mug.id, quantity: 4 })).status, 303)
  assert.equal(mug.quantity, 4)
  assert.equal((await shopper.post('/cart', { line: mug.id, quantity: '-1' })).status, 422)
  assert.equal((await shopper.post('/cart', { line: mug.id, quantity: '50' })).status, 409)
  await shopper.post('/cart', { line: bowl.id, quantity: 1, remove: 'yes' })
  assert.equal(cart.items.length, 1)
  await shopper.post('/cart', { line: mug.id, quantity: 0 })
  assert.match((await shopper.get('/cart')).text, /nothing in it/)
  assert.equal((await shopper.get('/checkout')).location, '/cart')
})

test('a cart follows the shop into another region and another currency', async (t) => {
  let time = 0
  const { fake, browser } = await startShop(t, { now: () => time })
  const shopper = browser()
  await shopper.buy(fake.products[0])
  const [cart] = fake.carts.values()
  for (const change of [{ currency_code: 'chf' }, { id: 'reg_00000000000000000000000000' }]) {
    fake.region = { ...fake.region, ...change }
    fake.products[0].variants[0].calculated_price.currency_code = fake.region.currency_code
    time += 60_000
    assert.match((await shopper.get('/cart')).text, /CHF\s15\.00/)
    assert.deepEqual([cart.region_id, cart.currency_code], [fake.region.id, 'chf'])
  }
})

test('a cart whose products have no price in the new currency gives way to a new one', async (t) => {
  let time = 0
  const { fake, browser } = await startShop(t, { now: () => time })
  const shopper = browser()
  await shopper.buy(fake.products[0])
  fake.region = { ...fake.region, currency_code: 'chf' }
  time += 60_000
  assert.match((await shopper.get('/cart')).text, /nothing in it/)
})
