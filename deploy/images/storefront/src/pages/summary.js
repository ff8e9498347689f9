import { html } from 'hono/html'
import { money } from '../money.js'
import { countryName } from './layout.js'

/** What is bought and what it costs, of a cart or an order. Medusa's totals contain tax, so the rows add up. */
export function summary(purchase, { withDelivery }) {
  const amount = (value) => money(value, purchase.currency_code)
  const row = (label, value) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`
  return html`<dl class="totals">
    ${row('Items', amount(purchase.item_total))}
    ${
      withDelivery
        ? row(
            `Delivery${purchase.shipping_methods?.[0] ? `, ${purchase.shipping_methods[0].name}` : ''}`,
            purchase.shipping_total === 0 ? 'Free' : amount(purchase.shipping_total),
          )
        : ''
    }
    ${purchase.discount_total > 0 ? row('Discount, already taken off', amount(purchase.discount_total)) : ''}
    <div class="total"><dt>Total</dt><dd>${amount(purchase.total)}</dd></div>
    ${purchase.tax_total > 0 ? row('Tax included', amount(purchase.tax_total)) : ''}
  </dl>`
}

export function lines(purchase) {
  return html`<ul class="lines compact">
    ${sortedItems(purchase).map(
      (item) => html`<li>
        <span>${item.quantity} × ${itemName(item)}</span>
        <span>${money(item.total, purchase.currency_code)}</span>
      </li>`,
    )}
  </ul>`
}

/** In the order in which they were put into the cart; Medusa gives them in any. */
export const sortedItems = ({ items }) =>
  items.toSorted((a, b) => a.created_at.localeCompare(b.created_at) || itemName(a).localeCompare(itemName(b), 'en'))

/** The variant's title only where it tells something: Medusa calls a single variant "Default variant". */
export function itemName({ product_title, variant_title }) {
  return variant_title && !/^default( variant)?$/i.test(variant_title)
    ? `${product_title}, ${variant_title}`
    : product_title
}

export function addressBlock(address) {
  const rows = [
    `${address.first_name ?? ''} ${address.last_name ?? ''}`,
    address.company,
    address.address_1,
    address.address_2,
    `${address.postal_code ?? ''} ${address.city ?? ''}`,
    address.province,
    address.country_code && countryName(address.country_code),
    address.phone,
  ]
  return html`<address>${rows.filter((row) => row?.trim()).map((row) => html`${row}<br />`)}</address>`
}
