// Init container of the API and worker pods: ends with 0 once the bootstrap Job of this release (BOOTSTRAP_ID) is
// recorded in the database, with 1 after WAIT_TIMEOUT_S seconds.
const { Client } = require("pg")

const id = process.env.BOOTSTRAP_ID
const deadline = Date.now() + Number(process.env.WAIT_TIMEOUT_S || 600) * 1000
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** Says why it is not done yet, or nothing. */
async function whatIsMissing() {
  const client = new Client({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 3000, query_timeout: 3000 })
  // A connection that breaks later must not end the process.
  client.on("error", () => {})
  try {
    await client.connect()
    const { rowCount } = await client.query("select 1 from platform.bootstrap where id = $1", [id])
    return rowCount ? undefined : `${id} is not recorded yet`
  } catch (error) {
    // 42P01, 3F000: neither table nor schema exists before the first bootstrap.
    return ["42P01", "3F000"].includes(error.code) ? "this database has not been bootstrapped yet" : error.message
  } finally {
    await client.end().catch(() => {})
  }
}

async function main() {
  if (!id) throw new Error("BOOTSTRAP_ID is not set")
  for (let said; ; await sleep(2000)) {
    const missing = await whatIsMissing()
    if (!missing) return console.log(`${id} is done`)
    if (missing !== said) console.log(`waiting for the bootstrap: ${missing}`)
    said = missing
    if (Date.now() > deadline) throw new Error(`gave up waiting for ${id}: ${missing}`)
  }
}

main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
