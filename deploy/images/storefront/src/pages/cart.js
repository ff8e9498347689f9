import { html } from 'hono/html'
import { MAX_QUANTITY } from '../carts.js'
import { money } from '../money.js'
import { notice, quantityInput } from './layout.js'
import { picture } from './picture.js'
import { itemName, sortedItems, summary } from './summary.js'

export function cartPage({ cart, message }) {
  if (!cart || cart.items.length === 0) {
    return html`<h1>Your cart</h1>
      ${notice(message)}
      <p class="empty">There is nothing in it yet.</p>
      <p><a class="button" href="/">Look at the products</a></p>`
  }
  return html`<h1>Your cart</h1>
    ${notice(message)}
    <div class="columns">
      <ul class="lines">
        ${sortedItems(cart).map((item) => html`<li>${line(item, cart.currency_code)}</li>`)}
      </ul>
      <aside class="panel" aria-label="Total">
        ${summary(cart, { withDelivery: false })}
        <p class="subtle">Delivery is added in the next step.</p>
        <a class="button wide" href="/checkout">Check out</a>
        <p class="center"><a href="/">Continue shopping</a></p>
      </aside>
    </div>`
}

function line(item, currency) {
  const name = itemName(item)
  return html`<div class="thumb">${picture(item.thumbnail, item.product_title, { alt: '' })}</div>
    <div class="about">
      <a class="name" href="/products/${encodeURIComponent(item.product_handle)}">${name}</a>
      <span class="subtle">${money(item.unit_price, currency)} each</span>
    </div>
    <span class="amount">${money(item.total, currency)}</span>
    <form method="post" action="/cart" class="row">
      <input type="hidden" name="line" value="${item.id}" />
      <label class="quantity">
        <span class="hidden">Quantity of ${name}</span>
        ${quantityInput({ value: item.quantity, min: 0, max: MAX_QUANTITY })}
      </label>
      <button class="button quiet" aria-label="Update the quantity of ${name}">Update</button>
      <button class="link" name="remove" value="yes" formnovalidate aria-label="Remove ${name}">Remove</button>
    </form>`
}
