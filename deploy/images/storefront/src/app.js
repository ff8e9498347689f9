// What all routes share: the frame of pages, problems, security, one log line for each request. The routes are in
// routes/. Each reads a request, asks Medusa, and answers with a page or, after a change, with a redirect (303), so that
// reloading never repeats the change.
import { randomUUID } from 'node:crypto'
import { Hono } from 'hono'
import { routePath } from 'hono/route'
import { loadAssets } from './assets.js'
import { createCarts } from './carts.js'
import { createCheckout } from './checkout.js'
import { createCookies } from './cookies.js'
import { Rejected, Unavailable } from './medusa.js'
import { layout } from './pages/layout.js'
import { problemPage, problemTitle } from './pages/problem.js'
import { cartRoutes } from './routes/cart.js'
import { catalogueRoutes } from './routes/catalogue.js'
import { checkoutRoutes } from './routes/checkout.js'
import { orderRoutes } from './routes/order.js'
import { guardPosts, securityHeaders } from './security.js'
import { createSerial } from './serial.js'

const RETRY_AFTER_SECONDS = 10

const ROBOTS = `User-agent: *
Disallow: /app
Disallow: /cart
Disallow: /checkout
Disallow: /order/
`

/** Builds the application; `now` gives milliseconds for the durations in the log. */
export function createApp({ settings, medusa, log, now = Date.now }) {
  const cookies = createCookies({ secure: settings.cookieSecure })
  const carts = createCarts({ medusa, cookies, serial: createSerial() })
  const checkout = createCheckout({ medusa })
  const shop = { name: settings.storeName, url: settings.storeUrl, assets: loadAssets(['style.css', 'icon.svg']) }
  const answers = createAnswers({ shop, carts })
  const app = new Hono({ strict: false })

  app.use(requestLog(log, now), securityHeaders(settings))
  app.use(guardPosts({ storeUrl: settings.storeUrl, onRefused: answers.problem }))
  app.notFound((c) => answers.problem(c, 404))
  app.onError((error, c) => {
    const expected = error instanceof Unavailable || error instanceof Rejected
    // The stack of what nobody expected goes to the log; shoppers see none of it.
    c.set('failure', expected ? error.message : error.stack)
    return answers.problem(c, expected ? 503 : 500)
  })

  app.get('/healthz', (c) => c.text('ok'))
  app.get('/robots.txt', (c) => c.text(ROBOTS))
  app.get('/assets/:file', (c) => shop.assets.serve(c, c.req.param('file')))
  const parts = { shop, medusa, cookies, carts, checkout, ...answers }
  for (const addRoutes of [catalogueRoutes, cartRoutes, checkoutRoutes, orderRoutes]) addRoutes(app, parts)
  return app
}

function createAnswers({ shop, carts }) {
  /** A page in the shop's frame. Pages about one shopper are not stored anywhere. */
  function show(c, page, { status = 200, cart, personal = false, ...frame }) {
    c.header('cache-control', personal ? 'no-store' : 'private, no-cache')
    return c.html(layout({ shop, count: carts.count(c, cart), body: page, ...frame }), status)
  }

  function problem(c, status, page = {}) {
    if (status === 503) c.header('retry-after', String(RETRY_AFTER_SECONDS))
    const frame = { status, title: problemTitle(status), narrow: true, personal: true }
    return show(c, problemPage({ status, ...page }), frame)
  }

  return { show, problem, form: async (c) => new URLSearchParams(await c.req.text()) }
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
