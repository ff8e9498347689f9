// Keeps an open page up to date, shows times as the reader's own clock has them, and copies texts. Pages work without it.
"use strict";
(() => {
  const root = document.body.dataset.root || "./";
  const connection = document.getElementById("connection");

  // Times.
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  const span = (seconds) => {
    const s = Math.max(0, Math.floor(seconds));
    const two = (a, u, b, v) => (b ? `${a}${u} ${b}${v}` : `${a}${u}`);
    const m = Math.floor(s / 60), h = Math.floor(s / 3600), d = Math.floor(s / 86400);
    if (d >= 100) return `${d}d`;
    if (d) return two(d, "d", h % 24, "h");
    if (h) return two(h, "h", m % 60, "m");
    if (m) return two(m, "m", s % 60, "s");
    return `${s}s`;
  };
  const words = {
    ago: (s) => `${span(s)} ago`,
    for: (s) => span(s),
    in: (s) => (s < 0 ? `in ${span(-s)}` : "now"),
  };
  const tell = (time) => {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) return;
    if (!time.dataset.told) {
      time.dataset.told = "1";
      time.title = `${exact.format(at)} (${time.dateTime})`;
    }
    const shown = words[time.dataset.form]?.((Date.now() - at) / 1000);
    if (shown && shown !== time.textContent) time.textContent = shown;
  };
  const tellAll = (within) => within.querySelectorAll("time[data-form]").forEach(tell);

  // Copying.
  const offer = (within) => {
    if (!navigator.clipboard) return;
    within.querySelectorAll("button.copy").forEach((button) => { button.hidden = false; });
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    const from = button.dataset.copyFrom;
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(from ? document.getElementById(from).textContent : button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy";
    }
    setTimeout(() => { button.textContent = before; }, 2000);
  });

  const fresh = (within) => { tellAll(within); offer(within); };

  // What the reader has opened or stands on stays so when a region is replaced.
  const replace = (region, html) => {
    const open = new Map([...region.querySelectorAll("details[id]")].map((it) => [it.id, it.open]));
    const active = document.activeElement;
    const href = region.contains(active) && active.getAttribute("href");
    region.innerHTML = html;
    open.forEach((isOpen, id) => { const it = document.getElementById(id); if (it) it.open = isOpen; });
    if (href) [...region.querySelectorAll("a")].find((it) => it.getAttribute("href") === href)?.focus();
    fresh(region);
  };
  const element = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    return template.content.firstElementChild;
  };
  const apply = (update) => {
    document.title = `${update.title} · storekeeper`;
    for (const [id, html] of Object.entries(update.regions)) {
      const region = document.getElementById(id);
      if (region) replace(region, html);
    }
    const rows = document.getElementById("rows");
    if (!rows) return;
    const made = new Map();
    for (const [id, html] of Object.entries(update.rows)) {
      const row = element(html);
      if (!row) continue;
      const old = document.getElementById(id);
      const focused = old?.contains(document.activeElement);
      made.set(id, row);
      if (old) {
        old.replaceWith(row);
        row.classList.add("moved");
        if (focused) row.querySelector("a")?.focus();
      }
      fresh(row);
    }
    if (!update.order) return;
    const wanted = new Set(update.order);
    [...rows.children].forEach((row) => { if (!wanted.has(row.id)) row.remove(); });
    let next = rows.firstElementChild;
    for (const id of update.order) {
      const row = document.getElementById(id) || made.get(id);
      if (!row) continue;
      if (row === next) next = next.nextElementSibling;
      else rows.insertBefore(row, next);
    }
  };

  // Staying connected.
  const say = (text, bad) => {
    connection.hidden = !text;
    connection.textContent = text || "";
    connection.classList.toggle("bad", !!bad);
  };
  let source = null, waits = 0, timer = 0;
  const here = () => {
    // The page's own path from our root, which may lie anywhere.
    const base = new URL(root, location.href).pathname;
    return location.pathname.slice(base.length) + location.search;
  };
  const connect = () => {
    clearTimeout(timer);
    source?.close();
    if (!("live" in document.body.dataset)) return;
    const version = encodeURIComponent(document.body.dataset.live);
    source = new EventSource(`${root}live?path=${encodeURIComponent(here())}&version=${version}`);
    source.onopen = () => { waits = 0; say(""); };
    source.onmessage = (message) => {
      document.body.dataset.live = "";
      apply(JSON.parse(message.data));
    };
    source.onerror = () => {
      source.close();
      waits = Math.min(waits + 1, 6);
      say("Not connected: what stands here may be old. Trying again; reload the page if this stays.", true);
      timer = setTimeout(connect, 500 * 2 ** waits * (0.75 + Math.random() / 2));
    };
  };
  document.addEventListener("visibilitychange", () => {
    // A page that nobody sees asks for nothing.
    if (document.hidden) { clearTimeout(timer); source?.close(); source = null; } else if (!source) connect();
  });
  addEventListener("pagehide", () => source?.close());

  // Searching while typing.
  const search = document.querySelector("form.search");
  if (search) {
    let typed = 0, asked = 0;
    const show = async () => {
      const query = new URLSearchParams([...new FormData(search)].filter(([, value]) => value));
      const url = query.size ? `./?${query}` : "./";
      const number = ++asked;
      try {
        const answer = await fetch(url, { headers: { accept: "text/html" } });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (number !== asked || !answer.ok) return;
        history.replaceState(null, "", url);
        for (const id of ["head", "counts", "rows", "pager"]) {
          const news = page.getElementById(id);
          if (news) replace(document.getElementById(id), news.innerHTML);
        }
        document.body.dataset.live = page.body.dataset.live || "";
        connect();
      } catch {
        say("The search could not be sent; it is tried again when you type.", true);
      }
    };
    search.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(show, 150); });
    search.addEventListener("submit", (event) => { event.preventDefault(); show(); });
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(input|select|textarea)$/i.test(event.target.tagName)) {
        event.preventDefault();
        search.elements.q.focus();
      }
    });
  }

  // A new store is checked while it is typed.
  const form = document.getElementById("new");
  if (form) {
    let typed = 0, asked = 0;
    const check = async () => {
      const number = ++asked;
      const answer = await fetch(`${form.dataset.check}?${new URLSearchParams(new FormData(form))}`).catch(() => null);
      if (number !== asked || !answer?.ok) return;
      const checked = await answer.json();
      for (const field of ["name", "displayName", "host"]) {
        const input = form.elements[field];
        const wrong = (field !== "name" || input.value) && checked[field];
        document.getElementById(`${field}-wrong`).textContent = wrong || "";
        if (wrong) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
      }
      const written = document.getElementById("written");
      written.hidden = !checked.file;
      document.getElementById("path").textContent = checked.path || "";
      document.getElementById("address").textContent = checked.address ? `will answer at ${checked.address}` : "";
      document.getElementById("file").textContent = checked.file || "";
      const create = document.getElementById("create");
      create.hidden = !checked.create;
      if (checked.create) create.href = checked.create;
      document.getElementById("left").textContent = checked.createLeft || "";
    };
    form.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(check, 200); });
  }

  fresh(document);
  setInterval(() => tellAll(document), 5000);
  connect();
})();
