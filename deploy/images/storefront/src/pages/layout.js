import { html } from 'hono/html'

const countryNames = new Intl.DisplayNames('en', { type: 'region' })

export const countryName = (code) => countryNames.of(code.toUpperCase())

/**
 * The frame of every page. `shop` has what all pages of the store share, `count` is the number of things in the cart,
 * `narrow` is for pages that are read or filled in rather than looked at.
 */
export function layout({ shop, title, description, canonical, count = 0, region, narrow = false, body }) {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title ? `${title} – ${shop.name}` : shop.name}</title>
        ${description ? html`<meta name="description" content="${description}" />` : ''}
        ${
          canonical
            ? html`<link rel="canonical" href="${shop.url}${canonical}" />`
            : html`<meta name="robots" content="noindex" />`
        }
        <link rel="stylesheet" href="${shop.assets.url('style.css')}" />
        <link rel="icon" type="image/svg+xml" href="${shop.assets.url('icon.svg')}" />
      </head>
      <body>
        <a class="skip" href="#main">Skip to content</a>
        <header class="top">
          <div class="bar">
            <a class="brand" href="/">${shop.name}</a>
            <nav aria-label="Shop">
              <a href="/">Products</a>
              <a class="cart" href="/cart" aria-label="Cart, ${count === 1 ? '1 item' : `${count} items`}">
                ${bag} <span>Cart</span> ${count > 0 ? html`<b class="badge">${count}</b>` : ''}
              </a>
            </nav>
          </div>
        </header>
        <main id="main" class="${narrow ? 'narrow' : ''}">${body}</main>
        <footer class="bottom">
          <div class="bar">
            <p class="brand">${shop.name}</p>
            ${region ? html`<p>${promise(region)}</p>` : ''}
          </div>
        </footer>
      </body>
    </html>`
}

function promise({ countries, currency_code }) {
  const names = countries.map((country) => countryName(country.iso_2)).sort()
  const where = names.length > 4 ? `${names.length} countries` : new Intl.ListFormat('en').format(names)
  return `Prices in ${currency_code.toUpperCase()}. ${where ? `We deliver to ${where}.` : ''}`
}

const bag = html`<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" focusable="false">
  <path
    d="M5 8h14l1 13H4L5 8Zm3.5 0V6.5a3.5 3.5 0 0 1 7 0V8"
    fill="none"
    stroke="currentColor"
    stroke-width="1.7"
    stroke-linejoin="round"
  />
</svg>`

export const quantityInput = ({ value, min, max }) =>
  html`<input type="number" name="quantity" value="${value}" min="${min}" max="${max}" required inputmode="numeric" />`

/** A message above a form. */
export const notice = (text) => (text ? html`<p class="notice" role="alert">${text}</p>` : '')
