// A running shop in front of the fake, and a browser as far as forms need one: it keeps cookies, follows redirects and
// sends Origin with posts.
import { serve } from '@hono/node-server'
import { createApp } from '../src/app.js'
import { createLog } from '../src/log.js'
import { createMedusa } from '../src/medusa.js'
import { KEY, startFakeMedusa } from './fake-medusa.js'

export const ADDRESS = {
  email: 'ada@example.com',
  first_name: 'Ada',
  last_name: 'Lovelace',
  address_1: 'Street 1',
  postal_code: '10115',
  city: 'Berlin',
  country_code: 'de',
}

/** Starts a shop that ends with the test. `now` is the clock of its caches. */
export async function startShop(test, { secure = false, publishableKey = KEY, timeoutsMs, now } = {}) {
  const fake = await startFakeMedusa()
  const settings = {
    storeName: 'Maple & <Moss>',
    storeUrl: secure ? 'https://shop.test' : 'http://shop.test',
    cookieSecure: secure,
    backendUrl: fake.url,
    publishableKey,
  }
  const logged = []
  const medusa = createMedusa({ ...settings, timeoutsMs, now })
  const app = createApp({ settings, medusa, log: createLog((line) => logged.push(JSON.parse(line))) })
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
  await new Promise((resolve) => server.once('listening', resolve))
  const url = `http://127.0.0.1:${server.address().port}`
  test.after(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await fake.stop()
  })
  return { fake, settings, logged, url, browser: () => createBrowser(url, settings.storeUrl) }
}

function createBrowser(url, origin) {
  const jar = new Map()

  async function request(path, options = {}) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { ...(cookie && { cookie }), ...options.headers }
    const response = await fetch(url + path, { ...options, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
      if (/max-age=0/i.test(line)) jar.delete(name)
      else jar.set(name, value)
    }
    return {
      status: response.status,
      headers: response.headers,
      location: response.headers.get('location'),
      text: await response.text(),
    }
  }

  const browser = {
    jar,
    get: (path, headers) => request(path, { headers }),
    post: (path, fields, headers = { origin }) =>
      request(path, { method: 'POST', body: new URLSearchParams(fields), headers }),

    /** Puts the first variant of a product into the cart. */
    buy: (product, quantity = 1) =>
      browser.post(`/products/${product.handle}`, { variant: product.variants[0].id, quantity }),

    /** From a filled cart to the last step: gives the fields that its form would send. */
    async review() {
      await browser.post('/checkout', ADDRESS)
      const { text } = await browser.get('/checkout/review')
      const value = (name) => new RegExp(`name="${name}" value="([^"]*)"`).exec(text)?.[1]
      return { option: value('option'), payment: value('payment'), total: value('total'), action: 'place' }
    },
  }
  return browser
}
