import { html } from 'hono/html'
import { FIELDS, chosenOption } from '../checkout.js'
import { MANUAL_PAYMENT } from '../medusa.js'
import { money } from '../money.js'
import { countryName, notice } from './layout.js'
import { addressBlock, lines, summary } from './summary.js'

const steps = (current) =>
  html`<ol class="steps" aria-label="Steps">
    ${['Address', 'Delivery and payment', 'Done'].map(
      (step, index) => html`<li ${index === current ? html`aria-current="step"` : ''}>${step}</li>`,
    )}
  </ol>`

/** First step: who and where to. */
export function detailsPage({ cart, region, values, errors = {} }) {
  const wrong = FIELDS.filter(({ name }) => errors[name])
  return html`${steps(0)}
    <h1>Checkout</h1>
    ${
      wrong.length > 0
        ? html`<div class="notice" role="alert">
          <p>Please look at ${wrong.length === 1 ? 'this field' : 'these fields'} again:</p>
          <ul>
            ${wrong.map(({ name, label }) => html`<li><a href="#${name}">${label}</a></li>`)}
          </ul>
        </div>`
        : ''
    }
    <div class="columns">
      <form method="post" action="/checkout" novalidate class="fields">
        ${FIELDS.map((field) => input(field, values[field.name], errors[field.name], region.countries))}
        <p class="buttons">
          <button class="button">Continue to delivery</button>
          <a href="/cart">Back to the cart</a>
        </p>
      </form>
      <aside class="panel" aria-label="Your order">
        <h2>Your order</h2>
        ${lines(cart)} ${summary(cart, { withDelivery: false })}
      </aside>
    </div>`
}

function input({ name, label, type = 'text', autocomplete, max = 100, half, required }, value, error, countries) {
  const described = error ? html`aria-invalid="true" aria-describedby="${name}-error"` : ''
  const needed = required ? html`required` : ''
  const common = html`id="${name}" name="${name}" autocomplete="${autocomplete}" ${needed} ${described}`
  return html`<div class="field ${half ? 'half' : ''}">
    <label for="${name}">${label} ${required ? '' : html`<small>optional</small>`}</label>
    ${
      name === 'country_code'
        ? html`<select ${common}>${countryOptions(countries, value)}</select>`
        : html`<input type="${type}" value="${value}" maxlength="${max}" ${common} />`
    }
    ${error ? html`<p class="error" id="${name}-error">${error}</p>` : ''}
  </div>`
}

function countryOptions(countries, value) {
  const option = (code, name) => html`<option value="${code}" ${code === value ? html`selected` : ''}>${name}</option>`
  const named = countries.map(({ iso_2 }) => [iso_2, countryName(iso_2)]).sort((a, b) => a[1].localeCompare(b[1], 'en'))
  const choices = named.map(([code, name]) => option(code, name))
  return named.length > 1 ? [option('', 'Choose a country'), ...choices] : choices
}

/** Second step: how it comes, how it is paid, what it costs in the end. */
export function reviewPage({ cart, options, payable, message, errors = {} }) {
  const chosen = chosenOption(cart)
  return html`${steps(1)}
    <h1>Delivery and payment</h1>
    ${notice(message)}
    <form method="post" action="/checkout/review" class="columns">
      <div>
        <section class="block">
          <h2>Deliver to <a href="/checkout">Change</a></h2>
          ${addressBlock(cart.shipping_address)}
          <p>${cart.email}</p>
        </section>
        <fieldset class="block">
          <legend>Delivery</legend>
          ${options.map((option) =>
            radio({
              name: 'option',
              value: option.id,
              checked: option.id === chosen,
              title: option.name,
              text: option.type?.description,
              amount: option.amount === 0 ? 'Free' : money(option.amount, cart.currency_code),
            }),
          )}
          ${errors.option ? html`<p class="error">${errors.option}</p>` : ''}
          ${options.length > 1
            ? html`<button class="button quiet" name="action" value="delivery">Update the total</button>`
            : ''}
        </fieldset>
        <fieldset class="block">
          <legend>Payment</legend>
          ${
            payable
              ? radio({
                name: 'payment',
                value: MANUAL_PAYMENT,
                checked: true,
                title: 'Pay after ordering',
                text: 'The shop contacts you about the payment. Nothing is charged now.',
              })
            : html`<p class="error">This shop can't take payments at the moment.</p>`
          }
          ${errors.payment ? html`<p class="error">${errors.payment}</p>` : ''}
        </fieldset>
      </div>
      <aside class="panel" aria-label="Your order">
        <h2>Your order</h2>
        ${lines(cart)} ${summary(cart, { withDelivery: true })}
        <input type="hidden" name="total" value="${cart.total}" />
        <button class="button wide" name="action" value="place" ${payable ? '' : html`disabled`}>
          Place order for ${money(cart.total, cart.currency_code)}
        </button>
        <p class="center"><a href="/cart">Change the cart</a></p>
      </aside>
    </form>`
}

function radio({ name, value, checked, title, text, amount }) {
  return html`<label class="option">
    <input type="radio" name="${name}" value="${value}" required ${checked ? html`checked` : ''} />
    <span><b>${title}</b>${text ? html`<small>${text}</small>` : ''}</span>
    ${amount ? html`<span class="amount">${amount}</span>` : ''}
  </label>`
}

/** The confirmation. */
export function orderPage({ order, shop }) {
  return html`${steps(2)}
    <h1>Thank you for your order</h1>
    <p class="lead">
      Your order number is <strong>${order.display_id}</strong>. ${shop.name} will contact you at
      <strong>${order.email}</strong> about payment and delivery.
    </p>
    <div class="columns">
      <section class="block">
        <h2>Deliver to</h2>
        ${addressBlock(order.shipping_address)}
        <h2>Payment</h2>
        <p>Pay after ordering. Nothing has been charged yet.</p>
      </section>
      <aside class="panel" aria-label="Your order">
        <h2>Your order</h2>
        ${lines(order)} ${summary(order, { withDelivery: true })}
      </aside>
    </div>
    <p><a class="button quiet" href="/">Continue shopping</a></p>`
}
