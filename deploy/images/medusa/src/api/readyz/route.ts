import type { MedusaRequest, MedusaResponse } from "@medusajs/framework/http"
import { ContainerRegistrationKeys } from "@medusajs/framework/utils"

const TIMEOUT_MS = Number(process.env.READYZ_TIMEOUT_MS || 2000)

const QUERY = `select
  exists (select from store where deleted_at is null)
  and exists (select from region where deleted_at is null)
  and exists (select from api_key where type = 'publishable' and revoked_at is null and deleted_at is null) as ready`

/**
 * Readiness: the database answers in time and holds a store that can sell. Medusa's own /health only says that the
 * process runs. No login and nothing secret; the Ingress doesn't route here.
 */
export async function GET(req: MedusaRequest, res: MedusaResponse): Promise<void> {
  const pg = req.scope.resolve(ContainerRegistrationKeys.PG_CONNECTION)
  const query = pg.raw(QUERY).then(({ rows }: { rows: { ready: boolean }[] }) => (rows[0]?.ready ? "ready" : "not bootstrapped"))
  const status = await within(TIMEOUT_MS, query).catch(() => "database unavailable")
  res.status(status === "ready" ? 200 : 503).json({ status })
}

/** The promise's result, or an error after the time. A late failure of the promise is no unhandled rejection. */
async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("timeout")), milliseconds)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
