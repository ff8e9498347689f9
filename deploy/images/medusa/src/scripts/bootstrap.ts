import type { ExecArgs } from "@medusajs/framework/types"
import { ContainerRegistrationKeys } from "@medusajs/framework/utils"
import type { Context } from "../bootstrap/context"
import { ensureAdmin, ensurePublishableKey } from "../bootstrap/credentials"
import { alone, Ledger } from "../bootstrap/ledger"
import { checkPlaces, ensureRegion, ensureTaxRegions, newCountries } from "../bootstrap/region"
import { ensureSamples } from "../bootstrap/samples"
import { readSettings } from "../bootstrap/settings"
import { ensureShipping } from "../bootstrap/shipping"
import { nameStore, salesChannel, supportCurrency, theStore } from "../bootstrap/store"

/**
 * Makes a migrated database a store that can sell, from the settings in the environment (contract: the chart's README).
 * Runs on every change of image or settings, so it only adds what is missing and applies what changed since the last
 * time; what a merchant renamed, edited or deleted stays that way. A run that was interrupted is finished by the next.
 */
export default async function bootstrap({ container }: ExecArgs): Promise<void> {
  const settings = readSettings(process.env)
  const logger = container.resolve(ContainerRegistrationKeys.LOGGER)
  const pg = container.resolve(ContainerRegistrationKeys.PG_CONNECTION)
  const changes: string[] = []
  await alone(pg, async () => {
    const context: Context = {
      container,
      pg,
      ledger: await Ledger.open(pg),
      settings,
      changed: (what) => {
        changes.push(what)
        logger.info(`bootstrap: ${what}`)
      },
      warn: (what) => logger.warn(`bootstrap: ${what}`),
    }
    await runSteps(context)
  })
  logger.info(`bootstrap ${settings.bootstrapId ?? ""} done, ${changes.length || "no"} changes`)
}

async function runSteps(context: Context): Promise<void> {
  const { ledger, settings } = context
  await checkPlaces(context)
  const store = await theStore(context)
  await nameStore(context, store)
  const channel = await salesChannel(context, store)
  await supportCurrency(context, store)
  await ensureRegion(context)
  await ensureTaxRegions(context)
  await ensureShipping(context, channel)
  await ensureSamples(context, channel)
  await ensurePublishableKey(context, channel)
  await ensureAdmin(context)
  // Only now, when every step has applied them: a run that ends before does them again.
  await ledger.set("currency", settings.currency)
  await noteCountries(context)
  if (settings.bootstrapId) await ledger.finish(settings.bootstrapId)
}

async function noteCountries(context: Context): Promise<void> {
  const applied = context.ledger.get("countries")?.split(",") ?? []
  await context.ledger.set("countries", [...applied, ...newCountries(context)].join(","))
}
