import { Modules } from "@medusajs/framework/utils"
import type { SalesChannelDTO, StoreDTO } from "@medusajs/framework/types"
import { createSalesChannelsWorkflow, updateStoresWorkflow } from "@medusajs/medusa/core-flows"
import type { Context } from "./context"

/** The store and its default sales channel, both made by Medusa itself at its first start. */
export async function theStore({ container }: Context): Promise<StoreDTO> {
  const [store] = await container
    .resolve(Modules.STORE)
    .listStores({}, { relations: ["supported_currencies"], take: 1, order: { created_at: "ASC" } })
  if (!store) throw new Error("the database has no store, although Medusa makes one when it starts")
  return store
}

/** Applies the name that the platform wants, unless it is the one applied last: then a merchant's own name stays. */
export async function nameStore(context: Context, store: StoreDTO): Promise<void> {
  const { container, ledger, settings, changed } = context
  if (ledger.get("store-name") === settings.storeName) return
  if (store.name !== settings.storeName) {
    await updateStoresWorkflow(container).run({
      input: { selector: { id: store.id }, update: { name: settings.storeName } },
    })
    changed("store name")
  }
  await ledger.set("store-name", settings.storeName)
}

/**
 * The channel that the shop sells through. By the store's reference, not by its name, which a merchant may change; a
 * deleted one is replaced by another before a new one is made.
 */
export async function salesChannel(context: Context, store: StoreDTO): Promise<SalesChannelDTO> {
  const { container, changed } = context
  const channels = await container.resolve(Modules.SALES_CHANNEL).listSalesChannels({}, { order: { created_at: "ASC" } })
  const current = channels.find(({ id }) => id === store.default_sales_channel_id)
  if (current) return current
  const channel = channels.find(({ is_disabled }) => !is_disabled) ?? (await createChannel(context))
  await updateStoresWorkflow(container).run({
    input: { selector: { id: store.id }, update: { default_sales_channel_id: channel.id } },
  })
  changed("default sales channel")
  return channel
}

async function createChannel({ container }: Context): Promise<SalesChannelDTO> {
  const { result } = await createSalesChannelsWorkflow(container).run({
    input: { salesChannelsData: [{ name: "Default Sales Channel" }] },
  })
  return result[0]!
}

/** The store's default currency follows the setting when that changed; other currencies stay supported. */
export async function supportCurrency(context: Context, store: StoreDTO): Promise<void> {
  const { container, ledger, settings, changed } = context
  if (ledger.get("currency") === settings.currency) return
  const supported = store.supported_currencies ?? []
  if (supported.some(({ currency_code, is_default }) => is_default && currency_code === settings.currency)) return
  // The first bootstrap drops Medusa's own default, the euro, which nobody asked for. Later ones only add.
  const kept = ledger.get("currency") === undefined ? [] : supported
  const others = kept
    .filter(({ currency_code }) => currency_code !== settings.currency)
    .map(({ currency_code }) => ({ currency_code, is_default: false }))
  await updateStoresWorkflow(container).run({
    input: {
      selector: { id: store.id },
      update: { supported_currencies: [...others, { currency_code: settings.currency, is_default: true }] },
    },
  })
  changed(`currency ${settings.currency}`)
}
