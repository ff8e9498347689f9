import { html } from 'hono/html'
import { money, priceRange } from '../money.js'
import { soldOut } from '../stock.js'
import { picture } from './picture.js'

/** The shop's front: its products, newest first. */
export function listPage({ shop, products, page, pages }) {
  return html`
    <section class="intro">
      <h1>${page === 1 ? `Welcome to ${shop.name}` : `Products, page ${page}`}</h1>
      ${page === 1 ? html`<p>Have a look around. Ordering takes two minutes, and no account.</p>` : ''}
    </section>
    ${
      products.length === 0
        ? html`<p class="empty">There is nothing here yet. Please come back soon.</p>`
        : html`<ul class="grid">
          ${products.map((product, index) => html`<li>${card(product, index < 4)}</li>`)}
        </ul>`
    }
    ${pages > 1 ? pagination(page, pages) : ''}
  `
}

function card(product, eager) {
  const price = priceRange(product.variants)
  return html`<article class="card">
    <div class="frame">
      ${picture(product.thumbnail, product.title, { eager, alt: '' })}
      ${soldOut(product) ? html`<span class="tag">Sold out</span>` : ''}
      ${price?.original ? html`<span class="tag sale">Sale</span>` : ''}
    </div>
    <h2><a href="/products/${encodeURIComponent(product.handle)}">${product.title}</a></h2>
    ${product.subtitle ? html`<p class="subtle">${product.subtitle}</p>` : ''}
    <p class="price">
      ${price ? `${price.varies ? 'From ' : ''}${money(price.amount, price.currency)}` : 'Not for sale at the moment'}
      ${price?.original ? html`<s>${money(price.original, price.currency)}</s>` : ''}
    </p>
  </article>`
}

function pagination(page, pages) {
  const link = (to, text) => html`<a class="button quiet" href="${to === 1 ? '/' : `/?page=${to}`}">${text}</a>`
  return html`<nav class="pages" aria-label="Pages">
    ${page > 1 ? link(page - 1, 'Previous') : html`<span></span>`}
    <span>Page ${page} of ${pages}</span>
    ${page < pages ? link(page + 1, 'Next') : html`<span></span>`}
  </nav>`
}
