// Two cookies make a shopper: which cart it is, and a random token that proves whose. The cart's metadata keeps the
// token's hash, and an order leads back to its cart. So pods need no memory and no secret of their own, and an id seen
// over somebody's shoulder opens neither the cart nor the order here.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { isId } from './medusa.js'

const LIFETIME_SECONDS = 30 * 24 * 3600
const TOKEN = /^[A-Za-z0-9_-]{43}$/
const METADATA_KEY = 'storefront_shopper'

const hash = (token) => createHash('sha256').update(token).digest('hex')

/** Whether a cart or an order was made by the shopper with this token. */
export function ownedBy(token, { metadata }) {
  const kept = metadata?.[METADATA_KEY]
  if (!token || typeof kept !== 'string') return false
  const [a, b] = [Buffer.from(kept), Buffer.from(hash(token))]
  return a.length === b.length && timingSafeEqual(a, b)
}

/** The metadata that ties a new cart to the shopper with this token. */
export const ownership = (token) => ({ [METADATA_KEY]: hash(token) })

export const newToken = () => randomBytes(32).toString('base64url')

export function createCookies({ secure }) {
  // With the prefix, browsers refuse a cookie that another host below the same domain set, such as another store.
  const prefix = secure ? 'host' : undefined
  const options = { path: '/', httpOnly: true, sameSite: 'Lax', secure, maxAge: LIFETIME_SECONDS, prefix }
  const set = (c, name, value) => setCookie(c, name, value, options)

  return {
    /** What the shopper's browser sent, checked: `{ cartId, count, token }`, each of them possibly undefined. */
    read(c) {
      const [cartId, count] = (getCookie(c, 'cart', prefix) ?? '').split(':')
      const token = getCookie(c, 'shopper', prefix)
      return {
        cartId: isId(cartId, 'cart') ? cartId : undefined,
        // Only shown in the header, so that not every page has to ask for the cart.
        count: /^\d{1,4}$/.test(count ?? '') ? Number(count) : 0,
        token: TOKEN.test(token ?? '') ? token : undefined,
      }
    },

    /** Both are set together, so that neither outlives the other. */
    keep(c, cart, token) {
      set(c, 'cart', `${cart.id}:${itemCount(cart)}`)
      set(c, 'shopper', token)
    },

    /** The token stays: it shows the confirmation of the order. */
    forgetCart: (c) => deleteCookie(c, 'cart', { path: '/', secure, prefix }),
  }
}

export const itemCount = (cart) => cart.items.reduce((sum, item) => sum + item.quantity, 0)
