import { html } from 'hono/html'

const TEXTS = {
  403: [
    'That did not come from this shop',
    'The form was sent from another page, so nothing was changed. Please try again from here.',
  ],
  404: ['There is nothing here', 'The page may have moved, or the product is no longer sold.'],
  413: ['That was too much', 'The form had more text than fits. Nothing was changed.'],
  415: ['That was not a form of this shop', 'Nothing was changed. Please try again from here.'],
  500: ['Something went wrong', 'The fault is ours. Please try again in a moment.'],
  503: ['The shop takes a short break', 'Please try again in a moment. Your cart is kept.'],
}

/** What a shopper sees instead of the page that was asked for. */
export function problemPage({ status, link = { href: '/', text: 'To the products' }, text }) {
  const [title, standard] = TEXTS[status]
  return html`<div class="problem">
    <p class="code">${status}</p>
    <h1>${title}</h1>
    <p class="lead">${text ?? standard}</p>
    <p><a class="button" href="${link.href}">${link.text}</a></p>
  </div>`
}

export const problemTitle = (status) => TEXTS[status][0]
