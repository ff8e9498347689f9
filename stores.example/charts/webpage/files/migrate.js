// Makes what the page needs in PostgreSQL. It may run again and again. The connection comes from PGHOST and the like.
"use strict";
const { join } = require("node:path");
const { Client } = require(join(process.cwd(), "node_modules", "pg"));

async function migrate() {
  const client = new Client({ connectionTimeoutMillis: 5000 });
  await client.connect();
  await client.query("create table if not exists readers (day date primary key, number bigint not null)");
  await client.end();
}

migrate().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
