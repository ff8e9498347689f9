/** How many of a variant can be sold now; Infinity when Medusa does not count it. */
export function available(variant) {
  if (!variant.manage_inventory || variant.allow_backorder) return Infinity
  return Math.max(0, variant.inventory_quantity ?? 0)
}

export const soldOut = (product) => product.variants.every((variant) => available(variant) === 0)
