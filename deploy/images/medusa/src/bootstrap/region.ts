import { Modules } from "@medusajs/framework/utils"
import type { RegionDTO } from "@medusajs/framework/types"
import { createRegionsWorkflow, createTaxRegionsWorkflow, updateRegionsWorkflow } from "@medusajs/medusa/core-flows"
import type { Context } from "./context"

// Only until the ledger knows the region's id.
const NAME = "Default"

/** Countries of the setting that no earlier bootstrap applied. One that a merchant took out since stays out. */
export function newCountries({ ledger, settings }: Context): string[] {
  const applied = ledger.get("countries")?.split(",") ?? []
  return settings.countries.filter((country) => !applied.includes(country))
}

/** Refuses what Medusa doesn't know before anything is written. */
export async function checkPlaces({ container, settings }: Context): Promise<void> {
  const countries = await container.resolve(Modules.REGION).listCountries({ iso_2: settings.countries }, { take: null })
  const unknown = settings.countries.filter((code) => !countries.some(({ iso_2 }) => iso_2 === code))
  if (unknown.length) throw new Error(`STORE_COUNTRIES: Medusa knows no country ${unknown.join(", ")}`)
  const [currency] = await container.resolve(Modules.CURRENCY).listCurrencies({ code: [settings.currency] })
  if (!currency) throw new Error(`STORE_CURRENCY: Medusa knows no currency ${settings.currency}`)
}

/** The store's region with its currency and countries. Countries are added, never removed. */
export async function ensureRegion(context: Context): Promise<void> {
  const { container, ledger, settings, changed, warn } = context
  const regions = await container.resolve(Modules.REGION).listRegions({}, { relations: ["countries"], take: null })
  const id = ledger.get("region")
  const region = regions.find((region) => (id ? region.id === id : region.name === NAME))
  if (region) {
    await followSettings(context, region)
    await ledger.set("region", region.id)
  } else if (id && regions.length) {
    warn("the region that the platform made was deleted; the merchant's own regions stay as they are")
  } else {
    const countries = await withoutRegion(context, settings.countries)
    const { result } = await createRegionsWorkflow(container).run({
      input: {
        regions: [{ name: NAME, currency_code: settings.currency, countries, payment_providers: ["pp_system_default"] }],
      },
    })
    await ledger.set("region", result[0]!.id)
    changed("region")
  }
}

async function followSettings(context: Context, region: RegionDTO): Promise<void> {
  const { container, ledger, settings, changed, warn } = context
  const add = await withoutRegion(context, newCountries(context))
  const countries = (region.countries ?? []).map(({ iso_2 }) => iso_2!)
  const currencyChanged = ledger.get("currency") !== undefined && ledger.get("currency") !== settings.currency
  if (!add.length && !currencyChanged) return
  await updateRegionsWorkflow(container).run({
    input: {
      selector: { id: region.id },
      update: {
        // The list replaces the one that is there.
        ...(add.length ? { countries: [...countries, ...add] } : {}),
        ...(currencyChanged ? { currency_code: settings.currency } : {}),
      },
    },
  })
  if (add.length) changed(`countries ${add.join(",")}`)
  if (currencyChanged) {
    changed("region currency")
    warn(`products of the merchant without a price in ${settings.currency} can't be bought until they get one`)
  }
}

/** A country belongs to one region at most; where a merchant has put it, it stays. */
async function withoutRegion({ container }: Context, countries: string[]): Promise<string[]> {
  if (!countries.length) return []
  const found = await container.resolve(Modules.REGION).listCountries({ iso_2: countries }, { relations: ["region"], take: null })
  const taken = found.filter((country) => (country as { region?: unknown }).region).map(({ iso_2 }) => iso_2)
  return countries.filter((country) => !taken.includes(country))
}

/** Medusa computes taxes, even none, only for countries with a tax region. */
export async function ensureTaxRegions(context: Context): Promise<void> {
  const wanted = newCountries(context)
  if (!wanted.length) return
  const existing = await context.container.resolve(Modules.TAX).listTaxRegions({ country_code: wanted }, { take: null })
  const missing = wanted.filter((country) => !existing.some(({ country_code }) => country_code === country))
  if (!missing.length) return
  await createTaxRegionsWorkflow(context.container).run({
    input: missing.map((country_code) => ({ country_code, provider_id: "tp_system" })),
  })
  context.changed(`tax regions ${missing.join(",")}`)
}
