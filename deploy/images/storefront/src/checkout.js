// From a cart to an order: what a shopper must tell, and the steps in Medusa's order.
import { setTimeout as sleep } from 'node:timers/promises'
import { MANUAL_PAYMENT, Rejected } from './medusa.js'

// Places without postal codes, where asking for one would end the purchase.
const WITHOUT_POSTAL_CODE = new Set([
  'ae',
  'ag',
  'ao',
  'bs',
  'bw',
  'bz',
  'fj',
  'gh',
  'hk',
  'jm',
  'mo',
  'qa',
  'ug',
  'zw',
])

export const FIELDS = [
  { name: 'email', label: 'Email', type: 'email', autocomplete: 'email', max: 254, required: true },
  { name: 'first_name', label: 'First name', autocomplete: 'given-name', half: true, required: true },
  { name: 'last_name', label: 'Last name', autocomplete: 'family-name', half: true, required: true },
  { name: 'company', label: 'Company', autocomplete: 'organization' },
  { name: 'address_1', label: 'Street and number', autocomplete: 'address-line1', required: true },
  { name: 'address_2', label: 'Apartment, floor', autocomplete: 'address-line2' },
  { name: 'postal_code', label: 'Postal code', autocomplete: 'postal-code', max: 20, half: true, required: true },
  { name: 'city', label: 'City', autocomplete: 'address-level2', half: true, required: true },
  { name: 'province', label: 'State or province', autocomplete: 'address-level1' },
  { name: 'country_code', label: 'Country', autocomplete: 'country', required: true },
  { name: 'phone', label: 'Phone', type: 'tel', autocomplete: 'tel', max: 30 },
]

const FORMS = {
  email: [/^[^\s@]+@[^\s@]+\.[^\s@.]+$/, 'Enter an email address such as name@example.com.'],
  phone: [/^\+?[\d\s()/.-]{4,}$/, 'Use digits only, with + for the country if you like.'],
}

/** Reads the form: `{ values, errors }`, values as typed (trimmed) so that the form can show them again. */
export function readDetails(form, countries) {
  const values = {}
  const errors = {}
  for (const { name, label, max = 100, required } of FIELDS) {
    const value = (form.get(name) ?? '').trim()
    values[name] = value
    const needed = required && !(name === 'postal_code' && WITHOUT_POSTAL_CODE.has(form.get('country_code')))
    const [pattern, hint] = FORMS[name] ?? []
    if (!value && needed) errors[name] = `${label} is missing.`
    else if (value.length > max) errors[name] = `${label} can have at most ${max} characters.`
    else if (/\p{Cc}/u.test(value)) errors[name] = `${label} contains characters that can't be printed.`
    else if (value && pattern && !pattern.test(value)) errors[name] = hint
  }
  if (values.country_code && !countries.some((country) => country.iso_2 === values.country_code)) {
    errors.country_code = 'Choose a country from the list.'
  }
  return { values, errors }
}

/** The form's values of a cart that has been here before. */
export const detailsOf = (cart) =>
  Object.fromEntries(
    FIELDS.map(({ name }) => [name, (name === 'email' ? cart.email : cart.shipping_address?.[name]) ?? '']),
  )

export const hasDetails = (cart) => Boolean(cart.email && cart.shipping_address?.address_1)

export const chosenOption = (cart) => cart.shipping_methods?.[0]?.shipping_option_id

/** Options that can be chosen now; one whose price the provider doesn't tell would surprise. */
const offered = (options) =>
  options.filter((option) => typeof option.amount === 'number' && !option.insufficient_inventory)

export function createCheckout({ medusa }) {
  const deliveryOptions = async (cart) => offered(await medusa.shippingOptions(cart))

  return {
    deliveryOptions,

    /** Stores the address and, unless one that fits was chosen, the first way of delivery. False: none leads there. */
    async saveDetails(cart, { email, ...address }) {
      const filled = Object.fromEntries(Object.entries(address).map(([name, value]) => [name, value || null]))
      const saved = await medusa.updateCart(cart, { email, shipping_address: filled, billing_address: filled })
      const options = await deliveryOptions(saved)
      if (options.length === 0) return false
      const fits = options.some((option) => option.id === chosenOption(saved))
      await preparePayment(fits ? saved : await medusa.chooseShipping(saved, options[0]))
      return true
    },

    /** Gives the cart with its new total. */
    async chooseDelivery(cart, option) {
      const changed = await medusa.chooseShipping(cart, option)
      await preparePayment(changed)
      return medusa.cart(cart.id)
    },

    /**
     * Completes the cart. Medusa gives the same order to everyone who completes the same cart, so what is left to do
     * here is to wait for a second pod, or a second click, that is just doing it.
     */
    async placeOrder(cart) {
      const attempts = 5
      for (let attempt = 1; ; attempt++) {
        try {
          const current = attempt === 1 ? cart : await medusa.cart(cart.id)
          if (!current.completed_at) await preparePayment(current)
          return await medusa.completeCart(current)
        } catch (error) {
          if (!(error instanceof Rejected) || attempt === attempts) throw error
          const completed = (await medusa.cart(cart.id))?.completed_at
          if (!completed && error.status !== 409) throw error
          await sleep(200 * attempt)
        }
      }
    },
  }

  /** Every change of the total ends Medusa's payment session, so there may be none. */
  async function preparePayment(cart) {
    const sessions = cart.payment_collection?.payment_sessions ?? []
    const ready = sessions.some(({ provider_id, status }) => provider_id === MANUAL_PAYMENT && status === 'pending')
    if (!ready) await medusa.startPayment(cart)
  }
}
