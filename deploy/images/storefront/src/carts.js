// Which cart a request works on, and how it changes.
import { itemCount, newToken, ownedBy, ownership } from './cookies.js'
import { Rejected } from './medusa.js'

export const MAX_QUANTITY = 99

export function createCarts({ medusa, cookies, serial }) {
  /** The request's cart, open or completed, or undefined. A cart of somebody else counts as none. */
  async function find(c) {
    const { cartId, token } = cookies.read(c)
    if (!cartId || !token) return undefined
    const cart = await medusa.cart(cartId)
    if (!cart || !ownedBy(token, cart)) return undefined
    if (cart.completed_at) return cart
    // Since the cart was begun, the shop may have got another first region, or the region another currency.
    const region = await medusa.region()
    const fits = cart.region_id === region.id && cart.currency_code === region.currency_code
    return fits ? cart : move(cart, region)
  }

  /** Gives the cart the region's prices. Where something in it has none, shopping starts again. */
  async function move(cart, region) {
    try {
      return await medusa.updateCart(cart, { region_id: region.id })
    } catch (error) {
      if (error instanceof Rejected) return undefined
      throw error
    }
  }

  async function findOpen(c) {
    const cart = await find(c)
    return cart?.completed_at ? undefined : cart
  }

  function keep(c, cart) {
    cookies.keep(c, cart, cookies.read(c).token)
    return cart
  }

  return {
    find,
    findOpen,

    /** Runs a task alone among those of the same cart. */
    exclusively: (c, task) => {
      const { cartId } = cookies.read(c)
      return cartId ? serial(cartId, task) : task()
    },

    async add(c, variantId, quantity) {
      const found = await findOpen(c)
      if (found) return keep(c, await medusa.addLine(found, variantId, quantity))
      const token = cookies.read(c).token ?? newToken()
      const { id: region_id } = await medusa.region()
      const created = await medusa.createCart({ region_id, metadata: ownership(token) })
      const cart = await medusa.addLine(created, variantId, quantity)
      cookies.keep(c, cart, token)
      return cart
    },

    setQuantity: async (c, cart, line, quantity) =>
      keep(
        c,
        quantity === 0 ? await medusa.removeLine(cart, line) : await medusa.setLineQuantity(cart, line, quantity),
      ),

    forget: cookies.forgetCart,

    /** The number for the header: from the cart when the page has it, otherwise what the cookie remembers. */
    count: (c, cart) => (cart ? itemCount(cart) : cookies.read(c).count),
  }
}

/** A whole number from a form, or undefined when it is none or out of range. */
export function readQuantity(text, lowest) {
  const quantity = Number(text)
  return /^\d{1,3}$/.test(text ?? '') && quantity >= lowest && quantity <= MAX_QUANTITY ? quantity : undefined
}

/** What to tell a shopper whose change of the cart Medusa refused. Other errors are thrown again. */
export function refusal(error) {
  if (!(error instanceof Rejected)) throw error
  return error.code === 'insufficient_inventory'
    ? 'There are not that many left. Please choose a smaller quantity.'
    : 'This can no longer be bought. Please choose something else.'
}
