import { ownedBy } from '../cookies.js'
import { isId } from '../medusa.js'
import { orderPage } from '../pages/checkout.js'

/** The confirmation, for who ordered. */
export function orderRoutes(app, { shop, medusa, cookies, show, problem }) {
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
}
