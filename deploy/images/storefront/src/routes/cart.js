import { MAX_QUANTITY, readQuantity, refusal } from '../carts.js'
import { cartPage } from '../pages/cart.js'

/** The cart and the changes of its lines. */
export function cartRoutes(app, { medusa, cookies, carts, show, form }) {
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

  async function changeLine(c) {
    const fields = await form(c)
    const cart = await carts.findOpen(c)
    const line = cart?.items.find(({ id }) => id === fields.get('line'))
    // Gone already, in another tab perhaps: the cart shows what is left.
    if (!line) return c.redirect('/cart', 303)
    const quantity = fields.get('remove') ? 0 : readQuantity(fields.get('quantity'), 0)
    if (quantity === undefined) {
      return showCart(c, cart, { status: 422, message: `Please enter a quantity from 0 to ${MAX_QUANTITY}.` })
    }
    try {
      await carts.setQuantity(c, cart, line, quantity)
    } catch (error) {
      return showCart(c, cart, { status: 409, message: refusal(error) })
    }
    return c.redirect('/cart', 303)
  }

  app.get('/cart', async (c) => showCart(c, await carts.findOpen(c)))
  app.post('/cart', (c) => carts.exclusively(c, () => changeLine(c)))
}
