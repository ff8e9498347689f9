import type { Knex } from "@medusajs/framework/mikro-orm/knex"

/**
 * The bootstrap's own memory, in the schema `platform` of the store's database: what it made (so that a merchant may
 * rename or delete it) and which setting it applied last (so that only a setting that changed overwrites an edit).
 * Medusa's migrations leave other schemas alone, and a dump contains it.
 */
export class Ledger {
  private constructor(private readonly pg: Knex, private readonly notes: Map<string, string>) {}

  static async open(pg: Knex): Promise<Ledger> {
    await pg.raw("create schema if not exists platform")
    await pg.raw(
      `create table if not exists platform.bootstrap
         (id text primary key, finished_at timestamptz not null default now())`
    )
    await pg.raw(
      `create table if not exists platform.note
         (key text primary key, value text not null, written_at timestamptz not null default now())`
    )
    const { rows } = await pg.raw("select key, value from platform.note")
    return new Ledger(pg, new Map(rows.map((row: { key: string; value: string }) => [row.key, row.value])))
  }

  get(key: string): string | undefined {
    return this.notes.get(key)
  }

  async set(key: string, value: string): Promise<void> {
    await this.pg.raw(
      `insert into platform.note (key, value) values (?, ?)
         on conflict (key) do update set value = excluded.value, written_at = now()`,
      [key, value]
    )
    this.notes.set(key, value)
  }

  /** Records that the bootstrap with this id is done: API and worker pods start. */
  async finish(bootstrapId: string): Promise<void> {
    await this.pg.raw(
      "insert into platform.bootstrap (id) values (?) on conflict (id) do update set finished_at = now()",
      [bootstrapId]
    )
  }
}

// Any number that no other program of this database uses.
const LOCK = 727001

/**
 * Runs an action that no other bootstrap of this database runs at the same time. The lock belongs to a transaction: it
 * ends with an error, with the process and with the connection, and passes through poolers.
 */
export async function alone<T>(pg: Knex, action: () => Promise<T>): Promise<T> {
  return pg.transaction(async (transaction) => {
    // The transaction idles while the action works through other connections, and may wait long for the lock.
    await transaction.raw("set local idle_in_transaction_session_timeout = 0")
    await transaction.raw("set local statement_timeout = 0")
    await transaction.raw("select pg_advisory_xact_lock(?)", [LOCK])
    return action()
  })
}
