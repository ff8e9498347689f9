// Waits until the database accepts this store's login. Medusa itself tries for five minutes on an unreachable address
// and gives up after seconds on an unknown name; the Job's deadline is the only limit here.
const { Client } = require("pg")
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
;(async () => {
  for (;;) {
    const client = new Client({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 3000 })
    client.on("error", () => {})
    try {
      await client.connect()
      await client.query("select 1")
      console.log("the database answers")
      await client.end()
      return
    } catch (error) {
      console.log(`waiting for the database: ${error.message}`)
      await client.end().catch(() => {})
      await sleep(2000)
    }
  }
})()
