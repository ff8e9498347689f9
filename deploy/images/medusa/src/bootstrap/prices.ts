import { ContainerRegistrationKeys, Modules } from "@medusajs/framework/utils"
import { amountIn, type Context } from "./context"

const LINK = {
  shipping_option: { entity: "shipping_option_price_set", key: "shipping_option_id" },
  product_variant: { entity: "product_variant_price_set", key: "variant_id" },
} as const

/**
 * After a change of currency: gives things that the platform made a price in the new one. Prices that are there, in
 * whatever currency, stay; things that are gone are passed over.
 */
export async function addMissingPrices(
  context: Context,
  kind: keyof typeof LINK,
  ids: string[],
  euros: number
): Promise<void> {
  const { container, ledger, settings, changed } = context
  if (ledger.get("currency") === settings.currency || !ids.length) return
  const { entity, key } = LINK[kind]
  const { data: links } = await container
    .resolve(ContainerRegistrationKeys.QUERY)
    .graph({ entity, fields: ["price_set_id"], filters: { [key]: ids } })
  const sets = links.map((link: { price_set_id: string }) => link.price_set_id)
  if (!sets.length) return
  const pricing = container.resolve(Modules.PRICING)
  const priced = await pricing.listPrices(
    { price_set_id: sets, currency_code: [settings.currency] },
    { relations: ["price_set"], take: null }
  )
  const missing = sets.filter((set: string) => !priced.some((price) => price.price_set?.id === set))
  if (!missing.length) return
  const amount = amountIn(settings.currency, euros)
  // Objects of its own for each set: Medusa writes the set's id into them.
  await pricing.addPrices(
    missing.map((priceSetId: string) => ({ priceSetId, prices: [{ currency_code: settings.currency, amount }] }))
  )
  changed(`${missing.length} ${kind} prices in ${settings.currency}`)
}
