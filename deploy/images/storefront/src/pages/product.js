import { html } from 'hono/html'
import { MAX_QUANTITY } from '../carts.js'
import { money, priceRange, variantPrice } from '../money.js'
import { available } from '../stock.js'
import { notice, quantityInput } from './layout.js'
import { picture, safeUrl } from './picture.js'

// From here on a list to choose from is shorter than buttons.
const MANY_VARIANTS = 12
// Few enough to tell.
const LOW_STOCK = 5

export const canBuy = (variant) => available(variant) > 0 && variantPrice(variant) !== undefined

/** One product; with `message`, `chosen` and `quantity` are what a shopper asked for in vain. */
export function productPage({ product, message, chosen, quantity = 1 }) {
  const { title, subtitle, description, material } = product
  const variants = product.variants.toSorted(byRank)
  const price = priceRange(variants)
  const extra = product.images.map((image) => image.url).filter((url) => safeUrl(url) && url !== product.thumbnail)
  const first = product.thumbnail ?? extra.shift()
  return html`<div class="product">
    <div class="gallery">
      <div class="frame">${picture(first, title, { eager: true })}</div>
      ${extra.map((url, index) => {
        const alt = `${title}, picture ${index + 2}`
        return html`<div class="frame">${picture(url, title, { alt })}</div>`
      })}
    </div>
    <div class="buy">
      <h1>${title}</h1>
      ${subtitle ? html`<p class="subtle">${subtitle}</p>` : ''}
      ${
        price
          ? html`<p class="price large">
            ${price.varies ? 'From ' : ''}${money(price.amount, price.currency)}
            ${price.original ? html`<s>${money(price.original, price.currency)}</s>` : ''}
          </p>`
          : ''
      }
      ${notice(message)}
      ${variants.some(canBuy)
        ? form({ product, variants, chosen, quantity, varies: price.varies })
        : unavailable(price)}
      ${description ? html`<div class="description">${description}</div>` : ''}
      ${material ? html`<p class="subtle">Material: ${material}</p>` : ''}
    </div>
  </div>`
}

/** As the merchant ordered them; where all ranks are the same, the cheapest first. */
const byRank = (a, b) =>
  (a.variant_rank ?? 0) - (b.variant_rank ?? 0) ||
  (variantPrice(a)?.amount ?? 0) - (variantPrice(b)?.amount ?? 0) ||
  a.created_at.localeCompare(b.created_at)

const unavailable = (price) =>
  html`<p class="status out"><strong>${price ? 'Sold out' : 'Not for sale at the moment'}</strong></p>`

function form({ product, variants, chosen, quantity, varies }) {
  const selected = variants.find((variant) => variant.id === chosen && canBuy(variant)) ?? variants.find(canBuy)
  return html`<form method="post" action="/products/${encodeURIComponent(product.handle)}">
    ${
      variants.length === 1
        ? html`<input type="hidden" name="variant" value="${selected.id}" />
          <p class="status">${stock(selected)}</p>`
        : variants.length > MANY_VARIANTS
          ? list(variants, selected, varies)
          : buttons(variants, selected, varies)
    }
    <div class="row">
      <label class="quantity">
        <span>Quantity</span>
        ${quantityInput({ value: quantity, min: 1, max: Math.min(MAX_QUANTITY, mostAvailable(variants)) })}
      </label>
      <button class="button">Add to cart</button>
    </div>
  </form>`
}

function buttons(variants, selected, varies) {
  return html`<fieldset class="choices">
    <legend>Choose</legend>
    ${variants.map(
      (variant) => html`<label class="choice">
        <input type="radio" name="variant" value="${variant.id}" required
          ${variant === selected ? html`checked` : ''} ${canBuy(variant) ? '' : html`disabled`} />
        <span>
          <b>${variant.title}</b>
          ${varies && variantPrice(variant) ? html`<span>${priceOf(variant)}</span>` : ''}
          <small>${stock(variant)}</small>
        </span>
      </label>`,
    )}
  </fieldset>`
}

function list(variants, selected, varies) {
  return html`<label class="field">
    <span>Choose</span>
    <select name="variant" required>
      ${variants.map(
        (
          variant,
        ) => html`<option value="${variant.id}" ${variant === selected ? html`selected` : ''} ${canBuy(variant) ? '' : html`disabled`}>
          ${variant.title}${varies && variantPrice(variant) ? ` – ${priceOf(variant)}` : ''} (${stock(variant)})
        </option>`,
      )}
    </select>
  </label>`
}

function priceOf(variant) {
  const { amount, currency } = variantPrice(variant)
  return money(amount, currency)
}

function stock(variant) {
  if (!variantPrice(variant)) return 'Not for sale'
  const left = available(variant)
  if (left === 0) return 'Sold out'
  return left <= LOW_STOCK ? `Only ${left} left` : 'In stock'
}

const mostAvailable = (variants) => Math.max(...variants.filter(canBuy).map(available))
