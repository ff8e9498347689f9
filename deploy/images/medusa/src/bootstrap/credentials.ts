import { randomBytes, scryptSync, timingSafeEqual } from "node:crypto"
import { Modules } from "@medusajs/framework/utils"
import type { SalesChannelDTO, UserDTO } from "@medusajs/framework/types"
import { createApiKeysWorkflow, createUsersWorkflow, linkSalesChannelsToApiKeyWorkflow } from "@medusajs/medusa/core-flows"
import type { Context } from "./context"

/**
 * The publishable key that storefront and daemon know from the platform's Secret. Medusa only makes keys of its own, so
 * the value is written into the table; deleted or revoked rows count too, because their value is taken as well.
 */
export async function ensurePublishableKey(context: Context, channel: SalesChannelDTO): Promise<void> {
  const { container, pg, ledger, settings, changed } = context
  const token = settings.publishableKey
  if (!token) return
  const id = await keyFor(context, token)
  const redacted = `${token.slice(0, 6)}***${token.slice(-3)}`
  const updated = await pg("api_key")
    .where({ id })
    .where((row) => row.whereNot({ token }).orWhereNotNull("revoked_at").orWhereNotNull("deleted_at"))
    .update({ token, redacted, revoked_at: null, revoked_by: null, deleted_at: null })
  if (updated) changed("publishable key")
  await linkSalesChannelsToApiKeyWorkflow(container).run({ input: { id, add: [channel.id] } })
  await ledger.set("publishable-key", id)
}

/** The row with this value, else the one of an earlier value (rotation, restore), else Medusa's default one, else a new one. */
async function keyFor({ container, pg, ledger }: Context, token: string): Promise<string> {
  const rows: { id: string; token: string; deleted_at: Date | null; revoked_at: Date | null }[] = await pg("api_key")
    .select("id", "token", "deleted_at", "revoked_at")
    .where({ type: "publishable" })
    .orderBy("created_at")
  const noted = ledger.get("publishable-key")
  const usable = rows.filter((row) => !row.deleted_at && !row.revoked_at)
  const row =
    rows.find((row) => row.token === token) ?? usable.find((row) => row.id === noted) ?? (noted ? undefined : usable[0])
  if (row) return row.id
  const { result } = await createApiKeysWorkflow(container).run({
    input: { api_keys: [{ title: "Storefront", type: "publishable", created_by: "" }] },
  })
  return result[0]!.id
}

/** The admin of the platform's Secret. Another address later makes another admin; nobody is removed. */
export async function ensureAdmin(context: Context): Promise<void> {
  const { container, settings, changed } = context
  if (!settings.admin) return
  const { email, password } = settings.admin
  const auth = container.resolve(Modules.AUTH)
  const user = await ensureUser(context, email)
  const [identity] = await auth.listProviderIdentities({ provider: "emailpass", entity_id: email })
  if (identity) {
    await followPassword(context, email, password)
    return
  }
  const { authIdentity, error } = await auth.register("emailpass", { body: { email, password } })
  if (!authIdentity) throw new Error(`the admin's login could not be made: ${error}`)
  await auth.updateAuthIdentities({ id: authIdentity.id, app_metadata: { user_id: user.id } })
  await notePassword(context, email, password)
  changed("admin")
}

async function ensureUser({ container }: Context, email: string): Promise<UserDTO> {
  const [user] = await container.resolve(Modules.USER).listUsers({ email })
  if (user) return user
  const { result } = await createUsersWorkflow(container).run({ input: { users: [{ email }] } })
  return result[0]!
}

/**
 * Sets the password when the Secret's one is not the one applied last (a rotation, or a dump of a store with another
 * Secret). One that the admin chose since stays otherwise.
 */
async function followPassword(context: Context, email: string, password: string): Promise<void> {
  const { container, ledger, changed } = context
  const noted = ledger.get(passwordNote(email))
  if (noted && matches(password, noted)) return
  const { success, error } = await container
    .resolve(Modules.AUTH)
    .updateProvider("emailpass", { entity_id: email, password })
  if (!success) throw new Error(`the admin's password could not be set: ${error}`)
  await linkIdentity(context, email)
  await notePassword(context, email, password)
  changed("admin password")
}

/** An earlier run may have ended between the login and its user. */
async function linkIdentity({ container }: Context, email: string): Promise<void> {
  const auth = container.resolve(Modules.AUTH)
  const [user] = await container.resolve(Modules.USER).listUsers({ email })
  const [identity] = await auth.listProviderIdentities({ provider: "emailpass", entity_id: email })
  if (!user || !identity?.auth_identity_id) return
  const { app_metadata } = await auth.retrieveAuthIdentity(identity.auth_identity_id)
  if (app_metadata?.user_id === user.id) return
  await auth.updateAuthIdentities({ id: identity.auth_identity_id, app_metadata: { ...app_metadata, user_id: user.id } })
}

const passwordNote = (email: string) => `admin-password:${email}`

/** The ledger keeps a salted hash, for it is part of every dump. */
async function notePassword({ ledger }: Context, email: string, password: string): Promise<void> {
  const salt = randomBytes(16)
  await ledger.set(passwordNote(email), `${salt.toString("hex")}:${scryptSync(password, salt, 32).toString("hex")}`)
}

function matches(password: string, noted: string): boolean {
  const [salt, hash] = noted.split(":").map((part) => Buffer.from(part, "hex"))
  return !!salt && !!hash && hash.length === 32 && timingSafeEqual(scryptSync(password, salt, 32), hash)
}
