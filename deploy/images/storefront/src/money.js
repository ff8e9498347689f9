const formats = new Map()

/** Formats an amount in major units, as Medusa 2 keeps them. Intl knows how many decimals a currency has. */
export function money(amount, currency) {
  let format = formats.get(currency)
  if (!format) {
    format = new Intl.NumberFormat('en', { style: 'currency', currency })
    formats.set(currency, format)
  }
  return format.format(amount)
}

/** The lowest price among variants, whether others cost more, or undefined when none is for sale in the region. */
export function priceRange(variants) {
  const prices = variants.map(variantPrice).filter((price) => price !== undefined)
  if (prices.length === 0) return undefined
  const lowest = prices.reduce((a, b) => (b.amount < a.amount ? b : a))
  return { ...lowest, varies: prices.some((price) => price.amount !== lowest.amount) }
}

/** What a variant costs, and what it cost before when it is on sale; undefined without a price in the region. */
export function variantPrice(variant) {
  const price = variant.calculated_price
  if (typeof price?.calculated_amount !== 'number') return undefined
  const original = price.original_amount
  return {
    amount: price.calculated_amount,
    currency: price.currency_code,
    original: typeof original === 'number' && original > price.calculated_amount ? original : undefined,
  }
}
