/** What the platform wants of this store, read once from the environment. */
export interface Settings {
  /** Written to the database at the end; pods wait for it. */
  bootstrapId: string | undefined
  storeName: string
  /** ISO 4217, lower case. */
  currency: string
  /** ISO 3166 alpha-2, lower case, without repetition. */
  countries: string[]
  sampleProducts: boolean
  publishableKey: string | undefined
  admin: { email: string; password: string } | undefined
}

type Environment = Record<string, string | undefined>

/** Reads and checks the settings. Errors name the variable. */
export function readSettings(env: Environment): Settings {
  return {
    bootstrapId: env.BOOTSTRAP_ID || undefined,
    storeName: env.STORE_NAME?.trim() || "Store",
    currency: readCurrency(env.STORE_CURRENCY || "eur"),
    countries: readCountries(env.STORE_COUNTRIES || "de"),
    sampleProducts: env.SEED_SAMPLE_PRODUCTS !== "false",
    publishableKey: readPublishableKey(env.PUBLISHABLE_KEY),
    admin: readAdmin(env),
  }
}

function readCurrency(text: string): string {
  const currency = text.trim().toLowerCase()
  if (!/^[a-z]{3}$/.test(currency)) {
    throw new Error(`STORE_CURRENCY=${text} is no currency: give three letters such as eur`)
  }
  return currency
}

function readCountries(text: string): string[] {
  const countries = text.split(",").map((country) => country.trim().toLowerCase()).filter(Boolean)
  const wrong = countries.filter((country) => !/^[a-z]{2}$/.test(country))
  if (wrong.length || !countries.length) {
    throw new Error(`STORE_COUNTRIES=${text} is no list of countries: give two letters each, such as de,fr`)
  }
  return [...new Set(countries)]
}

function readPublishableKey(key: string | undefined): string | undefined {
  // Medusa recognises publishable keys by this prefix. The value stays out of the message.
  if (key && !key.startsWith("pk_")) {
    throw new Error("PUBLISHABLE_KEY doesn't start with pk_")
  }
  return key || undefined
}

function readAdmin(env: Environment): Settings["admin"] {
  const email = env.ADMIN_EMAIL?.trim().toLowerCase()
  const password = env.ADMIN_PASSWORD
  if (!email && !password) return undefined
  if (!email || !password) throw new Error("ADMIN_EMAIL and ADMIN_PASSWORD belong together; one of them is missing")
  return { email, password }
}
