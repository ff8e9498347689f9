import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ADDRESS, startShop } from './shop.js'

test('posts from other sites change nothing', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  const fields = { variant: fake.products[0].variants[0].id, quantity: 1 }
  const refused = [
    { origin: 'http://evil.test' },
    { origin: 'http://shop.test.evil.test' },
    { origin: 'null' },
    { origin: 'http://shop.test', 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { referer: 'http://evil.test/http://shop.test/' },
    {},
  ]
  for (const headers of refused) {
    assert.equal((await shopper.post('/products/mug', fields, headers)).status, 403, JSON.stringify(headers))
  }
  assert.equal(fake.carts.size, 0)
})

test('posts of the shop itself pass, with and without https', async (t) => {
  for (const secure of [false, true]) {
    const { fake, settings, browser } = await startShop(t, { secure })
    const fields = { variant: fake.products[0].variants[0].id, quantity: 1 }
    const origin = settings.storeUrl
    for (const headers of [{ origin }, { 'sec-fetch-site': 'same-origin' }, { referer: `${origin}/products/mug` }]) {
      assert.equal((await browser().post('/products/mug', fields, headers)).status, 303, JSON.stringify(headers))
    }
  }
})

test('cookies are closed to scripts and other sites, and with https to plain http and other hosts', async (t) => {
  const plain = await startShop(t)
  const open = (await plain.browser().buy(plain.fake.products[0])).headers.getSetCookie()
  assert.equal(open.length, 2)
  for (const cookie of open) {
    assert.match(cookie, /; Path=\/; HttpOnly; SameSite=Lax$/)
    assert.doesNotMatch(cookie, /Secure/)
  }
  const safe = await startShop(t, { secure: true })
  for (const cookie of (await safe.browser().buy(safe.fake.products[0])).headers.getSetCookie()) {
    assert.match(cookie, /^__Host-(cart|shopper)=.*HttpOnly; Secure; SameSite=Lax$/)
  }
})

test('a cart cookie that is no cart id never gets into a path', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  for (const value of [
    '..%2F..%2Fadmin%2Fusers',
    'cart_../x:1',
    'order_00000000000000000000000001:1',
    'cart_%0d%0a',
    '%E0%A4%A',
  ]) {
    fake.requests.length = 0
    shopper.jar.set('cart', value)
    const { status, text } = await shopper.get('/cart')
    assert.equal(status, 200)
    assert.match(text, /nothing in it/)
    assert.deepEqual(
      fake.requests.filter((request) => !/ \/store\/regions$/.test(request)),
      [],
      value,
    )
  }
})

test("another shopper's cart id opens nothing", async (t) => {
  const { fake, browser } = await startShop(t)
  const victim = browser()
  await victim.buy(fake.products[0])
  await victim.post('/checkout', ADDRESS)
  const thief = browser()
  await thief.buy(fake.products[0])
  thief.jar.set('cart', victim.jar.get('cart'))
  assert.match((await thief.get('/cart')).text, /nothing in it/)
  thief.jar.set('cart', victim.jar.get('cart'))
  assert.equal((await thief.get('/checkout')).location, '/cart')
})

test('a cart that Medusa no longer has is an empty cart', async (t) => {
  const { fake, browser } = await startShop(t)
  const shopper = browser()
  await shopper.buy(fake.products[0])
  fake.carts.clear()
  assert.match((await shopper.get('/cart')).text, /nothing in it/)
  assert.equal(shopper.jar.has('cart'), false)
  assert.equal((await shopper.buy(fake.products[0])).status, 303)
})

test('pages let no script run and no frame show them', async (t) => {
  const { fake, browser } = await startShop(t)
  fake.failure = 500
  for (const path of ['/', '/nowhere', '/healthz']) {
    const { headers } = await browser().get(path)
    const policy = headers.get('content-security-policy')
    assert.match(policy, /default-src 'none'/)
    assert.match(policy, /frame-ancestors 'none'/)
    assert.doesNotMatch(policy, /script-src|unsafe/)
    assert.equal(headers.get('x-content-type-options'), 'nosniff')
    assert.equal(headers.get('referrer-policy'), 'same-origin')
  }
})

test('large bodies and other kinds of bodies are refused', async (t) => {
  const { fake, url, browser } = await startShop(t)
  const large = await browser().post('/products/mug', { variant: 'x'.repeat(20_000) })
  assert.equal(large.status, 413)
  const chunks = new ReadableStream({
    pull: (controller) => controller.enqueue(new TextEncoder().encode('x'.repeat(1000))),
  })
  const origin = 'http://shop.test'
  const form = 'application/x-www-form-urlencoded'
  const endless = fetch(`${url}/products/mug`, {
    method: 'POST',
    body: chunks,
    duplex: 'half',
    headers: { origin, 'content-type': form },
  })
  assert.equal(
    await endless.then(
      ({ status }) => status,
      () => 413,
    ),
    413,
  )
  const json = await fetch(`${url}/products/mug`, {
    method: 'POST',
    body: '{}',
    headers: { origin, 'content-type': 'application/json' },
  })
  assert.equal(json.status, 415)
  assert.equal(fake.carts.size, 0)
})
