// One page that counts its readers in PostgreSQL. The connection comes from PGHOST and the like.
"use strict";
const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { join } = require("node:path");
const { Pool } = require(join(process.cwd(), "node_modules", "pg"));

const { title, text } = JSON.parse(readFileSync(join(__dirname, "page.json"), "utf8"));
const pool = new Pool({ max: 4, connectionTimeoutMillis: 2000 });
// A connection that breaks while nobody uses it is made anew when somebody does.
pool.on("error", (error) => console.error(error.message));

const escaped = (words) => words.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

async function count() {
  const { rows } = await pool.query(
    `with today as (insert into readers values (current_date, 1)
       on conflict (day) do update set number = readers.number + 1 returning number)
     select (select number from today) + coalesce(sum(number), 0) as number from readers where day < current_date`,
  );
  return rows[0].number;
}

async function answer(path) {
  if (path === "/livez") return [200, "text/plain", "ok\n"];
  if (path === "/readyz") {
    await pool.query("select 1");
    return [200, "text/plain", "ok\n"];
  }
  if (path !== "/") return [404, "text/plain", "there is one page: /\n"];
  const number = await count();
  return [200, "text/html", `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title></head>
<body><h1>${escaped(title)}</h1><p>${escaped(text)}</p><p>Read <b>${number}</b> times.</p></body></html>
`];
}

const server = createServer((request, response) => {
  answer(new URL(request.url, "http://page").pathname)
    .catch((error) => {
      console.error(error.message);
      return [503, "text/plain", "the database does not answer\n"];
    })
    .then(([status, kind, body]) => {
      response.writeHead(status, { "content-type": `${kind}; charset=utf-8` });
      response.end(body);
    });
});
server.listen(3000);
process.on("SIGTERM", () => server.close(() => process.exit(0)));
