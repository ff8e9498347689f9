import { readFile } from "node:fs/promises"
import { join } from "node:path"
import type { MedusaRequest, MedusaResponse } from "@medusajs/framework/http"

/**
 * Pictures of the sample products, from the image. Medusa serves the uploads volume at /static first, so these paths
 * reach this route only while no upload has them; with files on S3 they still work.
 */
export async function GET(req: MedusaRequest, res: MedusaResponse): Promise<void> {
  const { name } = req.params
  if (!name || !/^[a-z0-9-]+\.svg$/.test(name)) {
    res.sendStatus(404)
    return
  }
  const svg = await readFile(join(process.cwd(), "samples", name)).catch(() => undefined)
  if (!svg) {
    res.sendStatus(404)
    return
  }
  res
    .set("content-type", "image/svg+xml")
    .set("cache-control", "public, max-age=3600")
    .set("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'")
    .set("x-content-type-options", "nosniff")
    .send(svg)
}
