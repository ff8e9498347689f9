// A small Store API at the wire: as much of Medusa 2.21 as the storefront asks for, with its answers' shapes and its
// refusals. Tests change its fields to make a shop, or a failure.
import { createServer } from 'node:http'

export const KEY = `pk_${'0123456789abcdef'.repeat(4)}`

let ids = 0
export const id = (prefix) => `${prefix}_${String(++ids).padStart(26, '0')}`

export function variant({ title = 'Default variant', amount = 15, currency = 'eur', stock = 10, ...rest } = {}) {
  return {
    id: id('variant'),
    title,
    variant_rank: 0,
    created_at: '2026-01-01T00:00:00.000Z',
    manage_inventory: true,
    allow_backorder: false,
    inventory_quantity: stock,
    calculated_price: { calculated_amount: amount, original_amount: amount, currency_code: currency },
    ...rest,
  }
}

export function product({ title = 'Mug', handle = 'mug', variants = [variant()], ...rest } = {}) {
  return {
    id: id('prod'),
    title,
    handle,
    subtitle: null,
    description: null,
    material: null,
    thumbnail: null,
    images: [],
    variants,
    ...rest,
  }
}

export async function startFakeMedusa() {
  const fake = {
    region: { id: id('reg'), currency_code: 'eur', countries: [{ iso_2: 'de' }, { iso_2: 'fr' }] },
    products: [product()],
    options: [{ id: id('so'), name: 'Standard', type: { description: 'Two days' }, amount: 5 }],
    providers: [{ id: 'pp_system_default' }],
    carts: new Map(),
    orders: new Map(),
    /** `METHOD /path` of every request, in order. */
    requests: [],
    /** Answers every request with this status, or never answers with 'hang'. */
    failure: undefined,
    completeMs: 0,
    /** Requests that met another one of the same cart. */
    overlaps: 0,
    busy: new Set(),
  }
  const server = createServer((request, response) => answer(fake, request, response))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  fake.url = `http://127.0.0.1:${server.address().port}`
  fake.stop = () => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  }
  return fake
}

async function answer(fake, request, response) {
  const url = new URL(request.url, 'http://fake')
  fake.requests.push(`${request.method} ${url.pathname}`)
  let text = ''
  for await (const chunk of request) text += chunk
  const reply = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  if (fake.failure === 'hang') return
  if (fake.failure) return reply(fake.failure, { type: 'unknown_error', message: 'SECRET-INTERNALS' })
  if (request.headers['x-publishable-api-key'] !== KEY) {
    return reply(400, {
      type: 'not_allowed',
      message: 'A valid publishable key is required to proceed with the request',
    })
  }
  try {
    reply(200, await route(fake, request.method, url, text ? JSON.parse(text) : {}))
  } catch (refusal) {
    if (!refusal.status) throw refusal
    reply(refusal.status, refusal.body)
  }
}

const refuse = (status, type, code) => {
  throw { status, body: { type, code, message: 'SECRET-INTERNALS' } }
}

async function route(fake, method, url, body) {
  const [, , kind, first, second, third] = url.pathname.split('/')
  switch (`${method} ${kind}`) {
    case 'GET regions':
      return { regions: fake.region ? [fake.region] : [] }
    case 'GET products': {
      const handle = url.searchParams.get('handle')
      const found = handle ? fake.products.filter((one) => one.handle === handle) : fake.products
      const [offset, limit] = ['offset', 'limit'].map((name) => Number(url.searchParams.get(name)))
      return { products: found.slice(offset, offset + limit), count: found.length }
    }
    case 'GET shipping-options':
      return { shipping_options: fake.options }
    case 'GET payment-providers':
      return { payment_providers: fake.providers }
    case 'GET orders': {
      const order = fake.orders.get(first) ?? refuse(404, 'not_found')
      return { order }
    }
    case 'POST payment-collections': {
      if (first) {
        const cart = [...fake.carts.values()].find((one) => one.payment_collection?.id === first)
        cart.payment_collection.payment_sessions = [{ provider_id: body.provider_id, status: 'pending' }]
        return {}
      }
      const cart = fake.carts.get(body.cart_id)
      cart.payment_collection ??= { id: id('paycol'), payment_sessions: [] }
      return { payment_collection: cart.payment_collection }
    }
    default:
      if (kind !== 'carts') refuse(404, 'not_found')
      return carts(fake, method, first, second, third, body)
  }
}

async function carts(fake, method, cartId, part, lineId, body) {
  if (!cartId) {
    const cart = {
      id: id('cart'),
      items: [],
      shipping_methods: [],
      email: null,
      shipping_address: null,
      completed_at: null,
      currency_code: fake.region.currency_code,
      ...body,
    }
    fake.carts.set(cart.id, cart)
    return { cart: total(cart) }
  }
  const cart = fake.carts.get(cartId) ?? refuse(404, 'not_found')
  if (fake.busy.has(cart)) fake.overlaps++
  if (method === 'GET') return { cart: total(cart) }
  if (part === 'complete') {
    fake.busy.add(cart)
    return complete(fake, cart).finally(() => fake.busy.delete(cart))
  }
  if (cart.completed_at) refuse(400, 'invalid_data')
  if (part === 'line-items') changeLine(fake, method, cart, lineId, body)
  else if (part === 'shipping-methods') {
    const option = fake.options.find((one) => one.id === body.option_id) ?? refuse(400, 'invalid_data')
    cart.shipping_methods = [{ name: option.name, shipping_option_id: option.id, amount: option.amount }]
  } else {
    // As in Medusa, which needs a price of every line in the region's currency.
    const lost = cart.items.some(({ variant_id }) => !priceOf(fake, variant_id))
    if (body.region_id && lost) refuse(400, 'invalid_data')
    Object.assign(cart, body, body.region_id && { currency_code: fake.region.currency_code })
  }
  // As in Medusa: a change of the total ends the payment session.
  if (cart.payment_collection) cart.payment_collection.payment_sessions = []
  return method === 'DELETE' ? { parent: total(cart) } : { cart: total(cart) }
}

function changeLine(fake, method, cart, lineId, { variant_id, quantity }) {
  const line = cart.items.find((one) => one.id === lineId || one.variant_id === variant_id)
  if (method === 'DELETE') {
    cart.items = cart.items.filter((one) => one !== line)
    return
  }
  const wanted = lineId ? quantity : (line?.quantity ?? 0) + quantity
  const owner = fake.products.find((one) => one.variants.some(({ id }) => id === (variant_id ?? line.variant_id)))
  if (!owner) refuse(400, 'invalid_data')
  const bought = owner.variants.find(({ id }) => id === (variant_id ?? line.variant_id))
  if (bought.inventory_quantity < wanted) refuse(400, 'not_allowed', 'insufficient_inventory')
  if (line) line.quantity = wanted
  else {
    cart.items.push({
      id: id('cali'),
      created_at: new Date().toISOString(),
      variant_id,
      quantity,
      unit_price: bought.calculated_price.calculated_amount,
      product_title: owner.title,
      product_handle: owner.handle,
      variant_title: bought.title,
      thumbnail: owner.thumbnail,
    })
  }
}

async function complete(fake, cart) {
  await new Promise((resolve) => setTimeout(resolve, fake.completeMs))
  const known = [...fake.orders.values()].find((order) => order.cart.id === cart.id)
  if (known) return { type: 'order', order: known }
  if (!cart.payment_collection?.payment_sessions?.length) refuse(400, 'invalid_data')
  for (const { variant_id, quantity } of cart.items) {
    const sold = fake.products.flatMap((one) => one.variants).find((one) => one.id === variant_id)
    if (sold.inventory_quantity < quantity) refuse(400, 'not_allowed', 'insufficient_inventory')
  }
  const order = {
    ...structuredClone(total(cart)),
    id: id('order'),
    display_id: fake.orders.size + 1,
    cart: { id: cart.id },
  }
  delete order.metadata
  fake.orders.set(order.id, order)
  cart.completed_at = new Date().toISOString()
  return { type: 'order', order }
}

function priceOf(fake, variantId) {
  const { calculated_price } = fake.products.flatMap((one) => one.variants).find(({ id }) => id === variantId)
  return calculated_price?.currency_code === fake.region.currency_code ? calculated_price.calculated_amount : undefined
}

function total(cart) {
  for (const item of cart.items) item.total = item.unit_price * item.quantity
  const item_total = cart.items.reduce((sum, item) => sum + item.total, 0)
  const shipping_total = cart.shipping_methods.reduce((sum, { amount }) => sum + amount, 0)
  Object.assign(cart, {
    item_total,
    shipping_total,
    total: item_total + shipping_total,
    tax_total: 0,
    discount_total: 0,
  })
  return cart
}
