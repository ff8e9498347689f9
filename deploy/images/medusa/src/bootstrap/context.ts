import type { Knex } from "@medusajs/framework/mikro-orm/knex"
import type { MedusaContainer } from "@medusajs/framework/types"
import type { Ledger } from "./ledger"
import type { Settings } from "./settings"

/** What every step of the bootstrap works with. */
export interface Context {
  container: MedusaContainer
  pg: Knex
  ledger: Ledger
  settings: Settings
  /** Says what was changed, for the log and for the last line. */
  changed(what: string): void
  warn(what: string): void
}

/**
 * The prices of the bootstrap are written for the euro. In a currency whose unit is worth much less they are multiplied
 * to something plausible; these are no exchange rates. A currency that is missing is taken for one like the euro.
 */
const UNITS_PER_EURO: Record<string, number> = {
  aed: 4, ars: 1500, aud: 2, bdt: 130, brl: 6, cad: 2, clp: 1000, cny: 8, cop: 4500, czk: 25, dkk: 8, dop: 70, egp: 55,
  hkd: 9, huf: 400, idr: 18000, ils: 4, inr: 100, isk: 150, jpy: 160, kes: 150, khr: 4500, krw: 1600, lbp: 100000,
  lkr: 350, mad: 11, mmk: 2500, mxn: 22, myr: 5, ngn: 1700, nok: 12, nzd: 2, pen: 4, php: 65, pkr: 320, pln: 4, ron: 5,
  rsd: 120, rub: 100, sar: 4, sek: 11, sgd: 2, thb: 40, try: 45, twd: 36, tzs: 2800, uah: 48, ugx: 4200, uyu: 45,
  uzs: 14000, vnd: 29000, xaf: 650, xof: 650, zar: 20,
}

/**
 * An amount for the shop window in whole units of the currency (Medusa counts in units, not cents): two significant
 * digits, so that it also suits currencies without decimals.
 */
export function amountIn(currency: string, euros: number): number {
  const amount = euros * (UNITS_PER_EURO[currency] ?? 1)
  const step = 10 ** Math.max(0, Math.floor(Math.log10(amount)) - 1)
  return Math.max(1, Math.round(amount / step) * step)
}
