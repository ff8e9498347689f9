import { chosenOption, detailsOf, hasDetails, readDetails } from '../checkout.js'
import { MANUAL_PAYMENT, Rejected, Unavailable } from '../medusa.js'
import { money } from '../money.js'
import { detailsPage, reviewPage } from '../pages/checkout.js'

const CART_CHANGED = 'Something in your cart can no longer be bought in that number. Please change the cart.'
const NO_DELIVERY = 'We have no delivery for these products to this country.'
const OUTCOME_UNKNOWN = {
  text: 'We could not see whether your order went through. Please look again in a moment: nothing is ordered twice.',
  link: { href: '/checkout/review', text: 'Look again' },
}

/** The two steps from a cart to an order: who and where to, then how and for how much. */
export function checkoutRoutes(app, { medusa, carts, checkout, show, problem, form }) {
  function confirmed(c, order) {
    carts.forget(c)
    return c.redirect(`/order/${order.id}`, 303)
  }

  /**
   * Runs a step with the shopper's cart. An empty cart has nothing to check out; a completed one is an order whose
   * confirmation got lost on the way.
   */
  const withCart = (step) => (c) =>
    carts.exclusively(c, async () => {
      const cart = await carts.find(c)
      if (cart?.completed_at) return confirmed(c, await medusa.completeCart(cart))
      return cart?.items.length > 0 ? step(c, cart) : c.redirect('/cart', 303)
    })

  async function showDetails(c, cart, { status, values = detailsOf(cart), errors } = {}) {
    const region = await medusa.region()
    const page = detailsPage({ cart, region, values, errors })
    return show(c, page, { status, cart, region, title: 'Checkout', personal: true })
  }

  async function saveDetails(c, cart) {
    const { countries } = await medusa.region()
    const { values, errors } = readDetails(await form(c), countries)
    if (Object.keys(errors).length > 0) return showDetails(c, cart, { status: 422, values, errors })
    if (await checkout.saveDetails(cart, values)) return c.redirect('/checkout/review', 303)
    return showDetails(c, cart, { status: 422, values, errors: { country_code: NO_DELIVERY } })
  }

  app.get('/checkout', withCart(showDetails))
  app.post('/checkout', withCart(saveDetails))

  /** The second step needs the first: address and a way of delivery that still exists. */
  const withDetails = (step) =>
    withCart(async (c, cart) => {
      if (!hasDetails(cart)) return c.redirect('/checkout', 303)
      const [options, payable] = await Promise.all([
        checkout.deliveryOptions(cart),
        medusa.takesManualPayment(cart.region_id),
      ])
      if (!options.some(({ id }) => id === chosenOption(cart))) return c.redirect('/checkout', 303)
      return step(c, cart, { options, payable })
    })

  async function showReview(c, cart, { status, ...page }) {
    return show(c, reviewPage({ cart, ...page }), {
      status,
      cart,
      region: await medusa.region(),
      title: 'Delivery and payment',
      personal: true,
    })
  }

  async function review(c, cart, offer) {
    const fields = await form(c)
    const again = (current, page) => showReview(c, current, { ...offer, status: 422, ...page })
    const option = offer.options.find(({ id }) => id === fields.get('option'))
    if (!option) return again(cart, { errors: { option: 'Please choose how to deliver.' } })
    const current = option.id === chosenOption(cart) ? cart : await checkout.chooseDelivery(cart, option)
    if (fields.get('action') !== 'place') return c.redirect('/checkout/review', 303)
    if (!offer.payable || fields.get('payment') !== MANUAL_PAYMENT) {
      return again(current, { errors: { payment: 'Please choose how to pay.' } })
    }
    // A price, a tab or a way of delivery may have changed since the page was made: nobody pays what they did not see.
    if (fields.get('total') !== String(current.total)) {
      const total = money(current.total, current.currency_code)
      return again(current, { status: 409, message: `The total is now ${total}. Please check it and order again.` })
    }
    return place(c, current, (message) => again(current, { status: 409, message }))
  }

  async function place(c, cart, refuse) {
    try {
      return confirmed(c, await checkout.placeOrder(cart))
    } catch (error) {
      if (!(error instanceof Rejected || error instanceof Unavailable)) throw error
      c.set('failure', error.message)
      return error instanceof Rejected ? refuse(CART_CHANGED) : problem(c, 503, OUTCOME_UNKNOWN)
    }
  }

  app.get('/checkout/review', withDetails(showReview))
  app.post('/checkout/review', withDetails(review))
}
