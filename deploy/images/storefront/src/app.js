// Routes: each reads a request, asks Medusa, and answers with a page or, after a change, with a redirect (303), so that
// reloading never repeats the change.
import { randomUUID } from 'node:crypto'
import { Hono } from 'hono'
import { routePath } from 'hono/route'
import { loadAssets } from './assets.js'
import { createCarts, readQuantity, refusal } from './carts.js'
import { chosenOption, createCheckout, detailsOf, hasDetails, readDetails } from './checkout.js'
import { createCookies, ownedBy } from './cookies.js'
import { MANUAL_PAYMENT, Rejected, Unavailable, isId } from './medusa.js'
import { money } from './money.js'
import { cartPage } from './pages/cart.js'
import { detailsPage, orderPage, reviewPage } from './pages/checkout.js'
import { layout } from './pages/layout.js'
import { listPage } from './pages/list.js'
import { problemPage, problemTitle } from './pages/problem.js'
import { canBuy, productPage } from './pages/product.js'
import { guardPosts, securityHeaders } from './security.js'
import { createSerial } from './serial.js'

const PAGE_SIZE = 12
const RETRY_AFTER_SECONDS = 10

const TOO_OFTEN_CHANGED = 'Something in your cart can no longer be bought in that number. Please change the cart.'

export function createApp({ settings, medusa, log, now = Date.now }) {
  const cookies = createCookies({ secure: settings.cookieSecure })
  const carts = createCarts({ medusa, cookies, serial: createSerial() })
  const checkout = createCheckout({ medusa })
  const shop = { name: settings.storeName, url: settings.storeUrl, assets: loadAssets(['style.css', 'icon.svg']) }
  const app = new Hono({ strict: false })

  /** A page in the shop's frame. Pages about one shopper are not stored anywhere. */
  function show(c, page, { status = 200, cart, personal = false, ...frame }) {
    c.header('cache-control', personal ? 'no-store' : 'private, no-cache')
    return c.html(layout({ shop, count: carts.count(c, cart), body: page, ...frame }), status)
  }

  function problem(c, status, page = {}) {
    if (status === 503) c.header('retry-after', String(RETRY_AFTER_SECONDS))
    return show(c, problemPage({ status, ...page }), { status, title: problemTitle(status), narrow: true, personal: true })
  }

  const form = async (c) => new URLSearchParams(await c.req.text())

  app.use(requestLog(log, now), securityHeaders(settings))
  app.use(guardPosts({ storeUrl: settings.storeUrl, onRefused: problem }))
  app.notFound((c) => problem(c, 404))
  app.onError((error, c) => {
    const expected = error instanceof Unavailable || error instanceof Rejected
    // The stack of what nobody expected goes to the log; shoppers see none of it.
    c.set('failure', expected ? error.message : error.stack)
    return problem(c, expected ? 503 : 500)
  })

  app.get('/healthz', (c) => c.text('ok'))
  app.get('/robots.txt', (c) => c.text('User-agent: *\nDisallow: /cart\nDisallow: /checkout\nDisallow: /order/\nDisallow: /app\n'))
  app.get('/assets/:file', (c) => shop.assets.serve(c, c.req.param('file')))

  app.get('/', async (c) => {
    const asked = c.req.query('page') ?? '1'
    const page = /^[1-9]\d{0,4}$/.test(asked) ? Number(asked) : undefined
    if (!page) return problem(c, 404)
    const [region, { products, count }] = await Promise.all([
      medusa.region(),
      medusa.products({ limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE }),
    ])
    const pages = Math.max(1, Math.ceil(count / PAGE_SIZE))
    if (page > pages) return problem(c, 404)
    return show(c, listPage({ shop, products, page, pages }), {
      region,
      title: page > 1 ? `Products, page ${page}` : undefined,
      description: `Products of ${shop.name}`,
      canonical: page > 1 ? `/?page=${page}` : '/',
    })
  })

  async function showProduct(c, product, { status, ...page } = {}) {
    return show(c, productPage({ product, ...page }), {
      status,
      region: await medusa.region(),
      title: product.title,
      description: product.subtitle ?? product.description?.slice(0, 160),
      canonical: `/products/${encodeURIComponent(product.handle)}`,
    })
  }

  app.get('/products/:handle', async (c) => {
    const product = await medusa.product(c.req.param('handle'))
    return product ? showProduct(c, product) : problem(c, 404)
  })

  app.post('/products/:handle', async (c) => {
    const product = await medusa.product(c.req.param('handle'))
    if (!product) return problem(c, 404)
    const fields = await form(c)
    const chosen = fields.get('variant')
    const quantity = readQuantity(fields.get('quantity'), 1)
    const variant = product.variants.find(({ id }) => id === chosen)
    const again = (message, status) => showProduct(c, product, { message, status, chosen, quantity })
    if (!variant) return again('Please choose one of the variants.', 422)
    if (!quantity) return again('Please enter a quantity from 1 to 99.', 422)
    if (!canBuy(variant)) return again('This variant is sold out.', 409)
    try {
      await carts.exclusively(c, () => carts.add(c, variant.id, quantity))
    } catch (error) {
      return again(refusal(error), 409)
    }
    return c.redirect('/cart', 303)
  })

  async function showCart(c, cart, { status, message } = {}) {
    if (!cart && cookies.read(c).cartId) carts.forget(c)
    return show(c, cartPage({ cart, message }), {
      status,
      region: await medusa.region(),
      cart: cart ?? { items: [] },
      title: 'Cart',
      personal: true,
    })
  }

  app.get('/cart', async (c) => showCart(c, await carts.findOpen(c)))

  app.post('/cart', (c) =>
    carts.exclusively(c, async () => {
      const fields = await form(c)
      const cart = await carts.findOpen(c)
      const line = cart?.items.find(({ id }) => id === fields.get('line'))
      // Gone already, in another tab perhaps: the cart shows what is left.
      if (!line) return c.redirect('/cart', 303)
      const quantity = fields.get('remove') ? 0 : readQuantity(fields.get('quantity'), 0)
      if (quantity === undefined) {
        return showCart(c, cart, { status: 422, message: 'Please enter a quantity from 0 to 99.' })
      }
      try {
        await carts.setQuantity(c, cart, line, quantity)
      } catch (error) {
        return showCart(c, cart, { status: 409, message: refusal(error) })
      }
      return c.redirect('/cart', 303)
    }),
  )

  function confirmed(c, order) {
    carts.forget(c)
    return c.redirect(`/order/${order.id}`, 303)
  }

  /**
   * Runs one of the pages of the checkout with the shopper's cart. An empty cart has nothing to check out; a completed
   * one is an order whose confirmation got lost on the way.
   */
  const withCart = (handle) => (c) =>
    carts.exclusively(c, async () => {
      const cart = await carts.find(c)
      if (cart?.completed_at) return confirmed(c, await medusa.completeCart(cart))
      return cart?.items.length > 0 ? handle(c, cart) : c.redirect('/cart', 303)
    })

  async function showDetails(c, cart, { status, values = detailsOf(cart), errors } = {}) {
    const region = await medusa.region()
    const page = detailsPage({ cart, region, values, errors })
    return show(c, page, { status, cart, region, title: 'Checkout', personal: true })
  }

  app.get('/checkout', withCart(showDetails))

  app.post(
    '/checkout',
    withCart(async (c, cart) => {
      const { countries } = await medusa.region()
      const { values, errors } = readDetails(await form(c), countries)
      if (Object.keys(errors).length > 0) return showDetails(c, cart, { status: 422, values, errors })
      if (await checkout.saveDetails(cart, values)) return c.redirect('/checkout/review', 303)
      const nowhere = { country_code: 'We have no delivery for these products to this country.' }
      return showDetails(c, cart, { status: 422, values, errors: nowhere })
    }),
  )

  async function showReview(c, cart, { options, payable, ...page }) {
    return show(c, reviewPage({ cart, options, payable, ...page }), {
      status: page.status,
      cart,
      region: await medusa.region(),
      title: 'Delivery and payment',
      personal: true,
    })
  }

  /** The second step needs the first: address and a way of delivery that still exists. */
  const withDetails = (handle) =>
    withCart(async (c, cart) => {
      if (!hasDetails(cart)) return c.redirect('/checkout', 303)
      const [options, payable] = await Promise.all([
        checkout.deliveryOptions(cart),
        medusa.takesManualPayment(cart.region_id),
      ])
      if (!options.some(({ id }) => id === chosenOption(cart))) return c.redirect('/checkout', 303)
      return handle(c, cart, { options, payable })
    })

  app.get('/checkout/review', withDetails(showReview))

  app.post(
    '/checkout/review',
    withDetails(async (c, cart, offer) => {
      const fields = await form(c)
      const again = (current, page) => showReview(c, current, { ...offer, status: 422, ...page })
      const option = offer.options.find(({ id }) => id === fields.get('option'))
      if (!option) return again(cart, { errors: { option: 'Please choose how to deliver.' } })
      let current = cart
      if (option.id !== chosenOption(cart)) {
        await checkout.chooseDelivery(cart, option)
        current = await medusa.cart(cart.id)
      }
      if (fields.get('action') !== 'place') return c.redirect('/checkout/review', 303)
      if (!offer.payable || fields.get('payment') !== MANUAL_PAYMENT) {
        return again(current, { errors: { payment: 'Please choose how to pay.' } })
      }
      // A price, a tab or a way of delivery may have changed since the page was made: nobody pays what they did not see.
      if (fields.get('total') !== String(current.total)) {
        const total = money(current.total, current.currency_code)
        return again(current, { status: 409, message: `The total is now ${total}. Please check it and order again.` })
      }
      try {
        return confirmed(c, await checkout.placeOrder(current))
      } catch (error) {
        if (error instanceof Rejected) {
          c.set('failure', error.message)
          return again(current, { status: 409, message: TOO_OFTEN_CHANGED })
        }
        if (!(error instanceof Unavailable)) throw error
        c.set('failure', error.message)
        return problem(c, 503, {
          text: 'We could not see whether your order went through. Please look again in a moment: nothing is ordered twice.',
          link: { href: '/checkout/review', text: 'Look again' },
        })
      }
    }),
  )

  app.get('/order/:id', async (c) => {
    const id = c.req.param('id')
    const { token } = cookies.read(c)
    const order = token && isId(id, 'order') ? await medusa.order(id) : undefined
    // Somebody else's order and none at all look the same.
    if (!order || !ownedBy(token, order)) return problem(c, 404)
    return show(c, orderPage({ order, shop }), {
      region: await medusa.region(),
      title: `Order ${order.display_id}`,
      personal: true,
    })
  })

  return app
}

/**
 * One line for each request, probes aside. It names the route, not the address: addresses of carts and orders, queries,
 * cookies and forms are the shopper's.
 */
function requestLog(log, now) {
  return async (c, next) => {
    const start = now()
    const id = randomUUID()
    c.header('x-request-id', id)
    await next()
    const route = routePath(c, -1)
    if (route === '/healthz') return
    const failure = c.get('failure')
    const level = c.res.status >= 500 ? 'error' : 'info'
    log[level]('request', {
      'request.id': id,
      method: c.req.method,
      route: route.includes('*') ? 'none' : route,
      status: c.res.status,
      duration_ms: Math.round(now() - start),
      ...(failure && { failure }),
    })
  }
}
