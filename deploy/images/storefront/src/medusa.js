// The part of Medusa's Store API that a purchase needs. Ids that come from outside are checked by the callers' own data
// (a line must be in the cart, an option among the options) or by isId before they get into a path.

/** The shop cannot be served now: no answer in time, a failure of the API, or a store that is not set up. */
export class Unavailable extends Error {
  name = 'Unavailable'
}

/** The API understood and said no. `code` and `type` are Medusa's words; the message is not meant for shoppers. */
export class Rejected extends Error {
  name = 'Rejected'

  constructor(status, { type, code, message }) {
    super(`${status} ${code ?? type ?? 'unknown'}: ${message ?? ''}`)
    this.status = status
    this.code = code
    this.type = type
  }
}

// Reading may fail fast. Giving up on a change leaves open whether it happened, and changes of a cart took up to 6 s on
// a store that shared two cores with image builds; an order takes the longest and is the worst to have no answer for.
const TIMEOUTS_MS = { read: 5_000, change: 15_000, order: 20_000 }
// Short, so that a change in the dashboard shows at once for a human, long enough to take load off a busy list.
const REGION_TTL_MS = 10_000
const CATALOGUE_TTL_MS = 3_000
const CACHE_ENTRIES = 200

export const MANUAL_PAYMENT = 'pp_system_default'

const VARIANT_FIELDS = [
  'variants.id',
  'variants.title',
  'variants.manage_inventory',
  'variants.allow_backorder',
  'variants.inventory_quantity',
  '*variants.calculated_price',
]
const LIST_FIELDS = ['id', 'title', 'subtitle', 'handle', 'thumbnail', ...VARIANT_FIELDS].join(',')
// All of the variants, because the Store API knows their order (variant_rank) only so.
const PRODUCT_FIELDS = `${LIST_FIELDS},description,material,*images,*variants`
// Named one by one: the defaults also carry taxes, promotions and the whole product of every line.
const ITEM_FIELDS = [
  'id',
  'created_at',
  'quantity',
  'unit_price',
  'total',
  'product_title',
  'variant_title',
  'product_handle',
  'thumbnail',
]
const PURCHASE_FIELDS = [
  'id',
  'currency_code',
  'email',
  'total',
  'tax_total',
  'discount_total',
  'item_total',
  'shipping_total',
  ...ITEM_FIELDS.map((field) => `items.${field}`),
  'shipping_methods.name',
]
const CART_FIELDS = [
  ...PURCHASE_FIELDS,
  'metadata',
  'region_id',
  'completed_at',
  'items.variant_id',
  '*shipping_address',
  'shipping_methods.shipping_option_id',
  'payment_collection.id',
  'payment_collection.payment_sessions.provider_id',
  'payment_collection.payment_sessions.status',
].join(',')
const ORDER_FIELDS = [...PURCHASE_FIELDS, 'display_id', 'created_at', '*shipping_address', 'cart.id'].join(',')

const ID = /^[a-z]{2,12}_[0-9A-Za-z]{10,40}$/

/** Whether a text has the form of one of Medusa's ids with this prefix, so that it can stand in a path. */
export const isId = (text, prefix) => typeof text === 'string' && text.startsWith(`${prefix}_`) && ID.test(text)

export function createMedusa({ backendUrl, publishableKey, timeoutsMs = TIMEOUTS_MS, now = Date.now }) {
  const cache = new Map()

  async function call(method, path, { query = {}, body, timeout = method === 'GET' ? 'read' : 'change' } = {}) {
    const search = new URLSearchParams(query).toString()
    const url = `${backendUrl}${path}${search && `?${search}`}`
    const request = {
      method,
      headers: { 'x-publishable-api-key': publishableKey, accept: 'application/json' },
      // The API answers itself; following a redirect could only lead somewhere else.
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutsMs[timeout]),
    }
    if (body !== undefined) {
      request.headers['content-type'] = 'application/json'
      request.body = JSON.stringify(body)
    }
    let status
    let answer
    try {
      const response = await send(url, request)
      status = response.status
      answer = await response.json()
    } catch (error) {
      throw new Unavailable(`${method} ${route(path)}: ${reason(error)}`, { cause: error })
    }
    if (status < 400) return answer
    const rejected = new Rejected(status, answer ?? {})
    if (status >= 500 || status === 401 || (status === 400 && /publishable/i.test(rejected.message))) {
      throw new Unavailable(`${method} ${route(path)}: ${rejected.message}`, { cause: rejected })
    }
    throw rejected
  }

  /** Keeps the answer for a while; requests at the same time share one call. A failure is not kept. */
  function remember(key, ttl, get) {
    const kept = cache.get(key)
    if (kept && kept.until > now()) return kept.value
    const value = get()
    cache.delete(key)
    cache.set(key, { value, until: now() + ttl })
    value.catch(() => cache.delete(key))
    // Maps keep the order of insertion: the first key is the oldest.
    if (cache.size > CACHE_ENTRIES) cache.delete(cache.keys().next().value)
    return value
  }

  const region = () =>
    remember('region', REGION_TTL_MS, async () => {
      const { regions } = await call('GET', '/store/regions', { query: { limit: 1, order: 'created_at' } })
      if (regions.length === 0) throw new Unavailable('the store has no region yet')
      return regions[0]
    })

  const cartPath = (cart, rest = '') => `/store/carts/${cart.id}${rest}`
  const changeCart = async (path, body) => (await call('POST', path, { query: { fields: CART_FIELDS }, body })).cart

  return {
    region,

    products: async ({ limit, offset }) => {
      const { id: region_id } = await region()
      return remember(`products ${region_id} ${limit} ${offset}`, CATALOGUE_TTL_MS, () =>
        call('GET', '/store/products', {
          query: { region_id, limit, offset, order: '-created_at', fields: LIST_FIELDS },
        }),
      )
    },

    /** The product with this handle, or undefined. */
    product: async (handle) => {
      const { id: region_id } = await region()
      return remember(`product ${region_id} ${handle}`, CATALOGUE_TTL_MS, async () => {
        const query = { region_id, handle, limit: 1, fields: PRODUCT_FIELDS }
        return (await call('GET', '/store/products', { query })).products[0]
      })
    },

    /** The cart with this id, or undefined when Medusa has none. */
    cart: (id) =>
      unlessMissing(async () => (await call('GET', `/store/carts/${id}`, { query: { fields: CART_FIELDS } })).cart),
    createCart: (body) => changeCart('/store/carts', body),
    updateCart: (cart, body) => changeCart(cartPath(cart), body),
    addLine: (cart, variantId, quantity) =>
      changeCart(cartPath(cart, '/line-items'), { variant_id: variantId, quantity }),
    setLineQuantity: (cart, line, quantity) => changeCart(cartPath(cart, `/line-items/${line.id}`), { quantity }),
    removeLine: async (cart, line) =>
      (await call('DELETE', cartPath(cart, `/line-items/${line.id}`), { query: { fields: CART_FIELDS } })).parent,

    shippingOptions: async (cart) =>
      (await call('GET', '/store/shipping-options', { query: { cart_id: cart.id } })).shipping_options,
    chooseShipping: (cart, option) => changeCart(cartPath(cart, '/shipping-methods'), { option_id: option.id }),

    /** Whether the region takes the manual payment, the only one this storefront offers. */
    takesManualPayment: (regionId) =>
      remember(`payment ${regionId}`, REGION_TTL_MS, async () => {
        const query = { region_id: regionId }
        const { payment_providers } = await call('GET', '/store/payment-providers', { query })
        return payment_providers.some((provider) => provider.id === MANUAL_PAYMENT)
      }),
    startPayment: async (cart) => {
      const collection =
        cart.payment_collection ??
        (await call('POST', '/store/payment-collections', { body: { cart_id: cart.id } })).payment_collection
      await call('POST', `/store/payment-collections/${collection.id}/payment-sessions`, {
        body: { provider_id: MANUAL_PAYMENT },
      })
    },

    /** Turns the cart into an order; a cart that is one already gives the same order again. */
    completeCart: async (cart) => {
      const answer = await call('POST', cartPath(cart, '/complete'), { body: {}, timeout: 'order' })
      if (answer.type !== 'order') throw new Rejected(402, answer.error ?? {})
      return answer.order
    },

    /** The order with this id, with its cart's metadata: the Store API does not show an order's own. */
    order: (id) =>
      unlessMissing(async () => {
        const { order } = await call('GET', `/store/orders/${id}`, { query: { fields: ORDER_FIELDS } })
        if (!order.cart) return order
        const { cart } = await call('GET', cartPath(order.cart), { query: { fields: 'id,metadata' } })
        return { ...order, metadata: cart.metadata }
      }),
  }
}

/** Sends once more after a broken connection when nothing can have changed: a pod of the API may just have gone. */
async function send(url, request) {
  try {
    return await fetch(url, request)
  } catch (error) {
    if (request.method !== 'GET' || request.signal.aborted) throw error
    return fetch(url, request)
  }
}

async function unlessMissing(get) {
  try {
    return await get()
  } catch (error) {
    if (error instanceof Rejected && error.status === 404) return undefined
    throw error
  }
}

const reason = (error) => (error.name === 'TimeoutError' ? 'no answer in time' : (error.cause?.code ?? error.message))

/** The path without ids: they open carts and orders, so they don't belong into a log. */
const route = (path) => path.replace(/[a-z]+_[0-9A-Za-z]{10,}/g, ':id')
