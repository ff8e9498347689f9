import { defineConfig } from "@medusajs/framework/utils"

// One image for every store: all settings come from the environment when the process starts (the chart's README lists
// them). `medusa build` reads this file too, without any of them.
const env = process.env

type Module = { resolve: string; options?: Record<string, unknown> }

/** Events, workflows, cache and locks in Redis: what more than one process, or a worker, needs. */
function modulesInRedis(redisUrl: string): Module[] {
  const provider = (resolve: string, id: string) => ({ resolve, id, is_default: true, options: { redisUrl } })
  return [
    { resolve: "@medusajs/medusa/event-bus-redis", options: { redisUrl } },
    { resolve: "@medusajs/medusa/workflow-engine-redis", options: { redis: { redisUrl } } },
    {
      resolve: "@medusajs/medusa/caching",
      options: { providers: [provider("@medusajs/caching-redis", "caching-redis")] },
    },
    {
      resolve: "@medusajs/medusa/locking",
      options: { providers: [provider("@medusajs/medusa/locking-redis", "locking-redis")] },
    },
  ]
}

/** Without Redis two pods still overlap during an update; locks in PostgreSQL keep them from completing one cart twice. */
function locksInPostgres(): Module {
  const provider = { resolve: "@medusajs/medusa/locking-postgres", id: "locking-postgres", is_default: true }
  return { resolve: "@medusajs/medusa/locking", options: { providers: [provider] } }
}

/** Uploads in a bucket. Without a key the credentials come from the pod's surroundings (a role of the cloud). */
function filesOnS3(bucket: string): Module {
  const options = {
    bucket,
    region: env.S3_REGION,
    endpoint: env.S3_ENDPOINT || undefined,
    file_url: env.S3_FILE_URL || publicUrl(bucket),
    prefix: env.S3_PREFIX || "",
    ...(env.S3_ACCESS_KEY_ID
      ? { access_key_id: env.S3_ACCESS_KEY_ID, secret_access_key: env.S3_SECRET_ACCESS_KEY }
      : { authentication_method: "s3-iam-role" }),
    additional_client_config: { forcePathStyle: env.S3_FORCE_PATH_STYLE === "true" },
  }
  return {
    resolve: "@medusajs/medusa/file",
    options: { providers: [{ resolve: "@medusajs/medusa/file-s3", id: "s3", options }] },
  }
}

function publicUrl(bucket: string): string {
  return env.S3_ENDPOINT ? `${env.S3_ENDPOINT.replace(/\/$/, "")}/${bucket}` : `https://${bucket}.s3.${env.S3_REGION}.amazonaws.com`
}

/** Uploads in /app/static, a volume, served by Medusa at /static. */
function filesOnVolume(): Module {
  const options = { backend_url: `${env.MEDUSA_BACKEND_URL || "http://localhost:9000"}/static` }
  return {
    resolve: "@medusajs/medusa/file",
    options: { providers: [{ resolve: "@medusajs/medusa/file-local", id: "local", options }] },
  }
}

function workerMode(): "shared" | "server" | "worker" {
  const mode = env.MEDUSA_WORKER_MODE || "shared"
  if (mode !== "shared" && mode !== "server" && mode !== "worker") {
    throw new Error(`MEDUSA_WORKER_MODE=${mode}: use shared, server or worker`)
  }
  return mode
}

const redisUrl = env.REDIS_URL || undefined

module.exports = defineConfig({
  // Built into the dashboard: the API is on the dashboard's own host, whatever that is.
  admin: { disable: env.DISABLE_MEDUSA_ADMIN === "true", backendUrl: "/", path: "/app" },
  projectConfig: {
    // TLS is said in the URL: sslmode=disable, no-verify or verify-full, with sslrootcert=<PEM file> for a CA of its own.
    databaseUrl: env.DATABASE_URL,
    databaseDriverOptions: { pool: { min: 0, max: Number(env.DATABASE_POOL_MAX || 10) } },
    redisUrl,
    workerMode: workerMode(),
    // In production Medusa sets the session cookie over https only. A local shop on plain http would lock everybody out.
    cookieOptions: env.COOKIE_SECURE === "false" ? { secure: false, sameSite: "lax" } : {},
    http: {
      storeCors: env.STORE_CORS || "",
      adminCors: env.ADMIN_CORS || "",
      authCors: env.AUTH_CORS || "",
      jwtSecret: env.JWT_SECRET,
      cookieSecret: env.COOKIE_SECRET,
    },
  },
  modules: [
    ...(redisUrl ? modulesInRedis(redisUrl) : [locksInPostgres()]),
    env.S3_BUCKET ? filesOnS3(env.S3_BUCKET) : filesOnVolume(),
  ],
})
