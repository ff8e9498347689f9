import { ContainerRegistrationKeys, Modules } from "@medusajs/framework/utils"
import type { FulfillmentSetDTO, SalesChannelDTO, ShippingProfileDTO, StockLocationDTO } from "@medusajs/framework/types"
import {
  createShippingOptionsWorkflow,
  createStockLocationsWorkflow,
  linkSalesChannelsToStockLocationWorkflow,
} from "@medusajs/medusa/core-flows"
import { amountIn, type Context } from "./context"
import { addMissingPrices } from "./prices"
import { newCountries } from "./region"

// Names by which an interrupted first run finds its own things; after it the ledger has their ids.
const LOCATION = "Main warehouse"
const FULFILLMENT_SET = "Main shipping"
const OPTION = "Standard shipping"
const OPTION_EUROS = 5

/** A stock location that ships to all countries at one price: made once, then the merchant's. */
export async function ensureShipping(context: Context, channel: SalesChannelDTO): Promise<void> {
  const { ledger } = context
  if (ledger.get("shipping-option")) {
    await addCountries(context)
    await addMissingPrices(context, "shipping_option", [ledger.get("shipping-option")!], OPTION_EUROS)
    return
  }
  const location = await ensureLocation(context, channel)
  const set = await ensureFulfillmentSet(context, location)
  const zone = set.service_zones[0]!
  const option = await ensureOption(context, zone.id)
  await ledger.set("stock-location", location.id)
  await ledger.set("service-zone", zone.id)
  await ledger.set("shipping-option", option)
}

async function ensureLocation(context: Context, channel: SalesChannelDTO): Promise<StockLocationDTO> {
  const { container, settings, changed } = context
  let [location] = await container.resolve(Modules.STOCK_LOCATION).listStockLocations({ name: LOCATION })
  if (!location) {
    const address = { country_code: settings.countries[0]!.toUpperCase(), address_1: "-", city: "-" }
    const { result } = await createStockLocationsWorkflow(container).run({
      input: { locations: [{ name: LOCATION, address }] },
    })
    location = result[0]!
    changed("stock location")
  }
  await container.resolve(ContainerRegistrationKeys.LINK).create({
    [Modules.STOCK_LOCATION]: { stock_location_id: location.id },
    [Modules.FULFILLMENT]: { fulfillment_provider_id: "manual_manual" },
  })
  await linkSalesChannelsToStockLocationWorkflow(container).run({ input: { id: location.id, add: [channel.id] } })
  return location
}

async function ensureFulfillmentSet(context: Context, location: StockLocationDTO): Promise<FulfillmentSetDTO> {
  const { container, settings, changed } = context
  const fulfillment = container.resolve(Modules.FULFILLMENT)
  let [set] = await fulfillment.listFulfillmentSets({ name: FULFILLMENT_SET }, { relations: ["service_zones"] })
  if (!set) {
    const geo_zones = settings.countries.map((country_code) => ({ country_code, type: "country" as const }))
    set = await fulfillment.createFulfillmentSets({
      name: FULFILLMENT_SET,
      type: "shipping",
      service_zones: [{ name: "All countries", geo_zones }],
    })
    changed("fulfillment set")
  }
  await container.resolve(ContainerRegistrationKeys.LINK).create({
    [Modules.STOCK_LOCATION]: { stock_location_id: location.id },
    [Modules.FULFILLMENT]: { fulfillment_set_id: set.id },
  })
  return set
}

async function ensureOption(context: Context, serviceZone: string): Promise<string> {
  const { container, settings, changed } = context
  const [existing] = await container.resolve(Modules.FULFILLMENT).listShippingOptions({ name: OPTION })
  if (existing) return existing.id
  const profile = await shippingProfile(context)
  const { result } = await createShippingOptionsWorkflow(container).run({
    input: [
      {
        name: OPTION,
        price_type: "flat",
        provider_id: "manual_manual",
        service_zone_id: serviceZone,
        shipping_profile_id: profile.id,
        type: { label: "Standard", description: "Delivered in two to three days.", code: "standard" },
        prices: [{ currency_code: settings.currency, amount: amountIn(settings.currency, OPTION_EUROS) }],
        rules: [
          { attribute: "enabled_in_store", value: "true", operator: "eq" },
          { attribute: "is_return", value: "false", operator: "eq" },
        ],
      },
    ],
  })
  changed("shipping option")
  return result[0]!.id
}

/** Every product needs a shipping profile; Medusa's migrations make the default one. */
export async function shippingProfile({ container }: Context): Promise<ShippingProfileDTO> {
  const fulfillment = container.resolve(Modules.FULFILLMENT)
  const profiles = await fulfillment.listShippingProfiles({}, { order: { created_at: "ASC" } })
  return (
    profiles.find(({ type }) => type === "default") ??
    profiles[0] ??
    (await fulfillment.createShippingProfiles({ name: "Default Shipping Profile", type: "default" }))
  )
}

async function addCountries(context: Context): Promise<void> {
  const { container, ledger, changed, warn } = context
  const wanted = newCountries(context)
  if (!wanted.length) return
  const fulfillment = container.resolve(Modules.FULFILLMENT)
  const id = ledger.get("service-zone")!
  const [zone] = await fulfillment.listServiceZones({ id }, { relations: ["geo_zones"] })
  if (!zone) {
    warn(`the platform's shipping zone was deleted; nothing ships to ${wanted.join(",")} unless the merchant adds it`)
    return
  }
  const missing = wanted.filter((country) => !zone.geo_zones.some(({ country_code }) => country_code === country))
  await fulfillment.createGeoZones(
    missing.map((country_code) => ({ service_zone_id: id, country_code, type: "country" as const }))
  )
  if (missing.length) changed(`shipping to ${missing.join(",")}`)
}
