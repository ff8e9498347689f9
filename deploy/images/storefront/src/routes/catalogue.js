import { MAX_QUANTITY, readQuantity, refusal } from '../carts.js'
import { listPage } from '../pages/list.js'
import { canBuy, productPage } from '../pages/product.js'

const PAGE_SIZE = 12

/** The list of products, one product, and putting it into the cart. */
export function catalogueRoutes(app, { shop, medusa, carts, show, problem, form }) {
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
    if (!quantity) return again(`Please enter a quantity from 1 to ${MAX_QUANTITY}.`, 422)
    if (!canBuy(variant)) return again('This variant is sold out.', 409)
    try {
      await carts.exclusively(c, () => carts.add(c, variant.id, quantity))
    } catch (error) {
      return again(refusal(error), 409)
    }
    return c.redirect('/cart', 303)
  })
}
