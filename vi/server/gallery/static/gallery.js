// What HTML alone cannot do: dropping files, progress, keys, local times. Everything that comes from
// outside is set as text; the pages' policy lets nothing else through.
"use strict";

{
  const PLACES = 4; // transfers at once
  const BATCH = 200; // files of one session
  const BATCH_BYTES = 500e6; // so that the last is sent before the addresses of the first session expire
  const SESSIONS = 3; // that a file may go through
  const ROWS = 60; // rows of files that went well, at most
  const ATTEMPTS = 4;
  const TEMPORARY = [0, 408, 429, 500, 502, 503, 504];
  const PREVIEWED = 20e6; // bytes
  const WATCHED = 5; // seconds between two looks at a dataset that others may change
  const UNSCROLLED = 6; // refused files of a reason that are all in sight
  const token = document.querySelector("meta[name=csrf]")?.content ?? "";

  const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const nameOf = (text) => make("bdi", { textContent: text });
  const plural = (count, noun) => `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;

  class Refused extends Error {
    constructor(message, status, wait) {
      super(message);
      this.status = status;
      this.wait = wait;
    }
  }

  async function ask(address, document_, method = document_ === undefined ? "GET" : "POST", more = {}) {
    const headers = { Accept: "application/json", "X-CSRF-Token": token, ...more };
    const options = { method, headers, credentials: "same-origin" };
    if (document_ !== undefined) {
      headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(document_);
    }
    let answer;
    try {
      answer = await fetch(address, options);
    } catch {
      throw new Refused("The service does not answer", 0);
    }
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      throw new Refused(found.message ?? `The service answered ${answer.status}`, answer.status, waitOf(answer.headers.get("Retry-After")));
    }
    return found;
  }

  const waitOf = (text) => Math.min(30, Number.parseFloat(text ?? "") || 0);

  async function persist(work) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Refused) || !TEMPORARY.includes(error.status) || attempt === ATTEMPTS) throw error;
        await pause(error.wait || 0.5 * 2 ** attempt * Math.random());
      }
    }
  }

  // Times and keys

  function localTimes() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      time.title = time.textContent;
      time.textContent = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    }
  }

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest?.("input, select, textarea, video")) return;
    const tile = event.target.closest?.("[data-keys=grid] .tile");
    if (tile) return moveInGrid(event, tile);
    if (event.key.startsWith("Arrow") && event.target === document.body && document.activeElement === document.body) enterGrid(event);
    const link = [...document.querySelectorAll("[data-key]")].find((found) => found.dataset.key === event.key);
    if (link) {
      event.preventDefault();
      link.click();
    }
  }

  // The arrows begin at the first tile that is in sight; up and down scroll as ever.
  function enterGrid(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const first = tiles().find((tile) => tile.getBoundingClientRect().top >= 0);
    if (!first) return;
    event.preventDefault();
    first.focus();
  }

  function moveInGrid(event, tile) {
    if (event.key === "x") return choose(tile);
    const all = tiles();
    const columns = all.filter((other) => other.getBoundingClientRect().top === all[0].getBoundingClientRect().top).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const next = step && all[all.indexOf(tile) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }

  // The place in a grid, which a look at one asset must not lose

  const tiles = () => [...document.querySelectorAll("[data-keys=grid] .tile")];
  const here = () => location.pathname + location.search;

  function placeLeft() {
    try {
      return JSON.parse(sessionStorage.getItem("place")) ?? {};
    } catch {
      return {};
    }
  }

  const leave = (place) => sessionStorage.setItem("place", JSON.stringify(place));

  function keepPlace() {
    const asset = document.querySelector("[data-asset]")?.dataset.asset;
    if (asset) {
      const place = placeLeft();
      leave({ ...place, asset });
      const back = document.querySelector("[data-key=Escape]");
      // The page that one came from, where it shows this asset; else the one that the service named.
      if (place.tiles?.includes(asset)) back.href = `${place.grid}#${asset}`;
    } else if (tiles().length) {
      addEventListener("pageshow", returnTo);
      addEventListener("pagehide", () => leave({ ...placeLeft(), grid: here(), scroll: scrollY, tiles: tiles().map((tile) => tile.id) }));
    }
  }

  function returnTo(event) {
    const place = placeLeft();
    const moved = event.persisted || performance.getEntriesByType("navigation")[0]?.type === "back_forward";
    const tile = document.getElementById(moved ? place.asset : location.hash.slice(1));
    if (!tile?.matches(".tile")) return;
    if (place.grid === here()) scrollTo({ top: place.scroll, behavior: "instant" });
    tile.focus({ preventScroll: true });
    const { top, bottom } = tile.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) tile.scrollIntoView({ block: "center", behavior: "instant" });
  }

  // Choosing assets

  function takeChoices() {
    const form = document.getElementById("selection");
    if (!form) return;
    const boxes = [...document.querySelectorAll("input[form=selection]")];
    const all = form.querySelector("[data-all]");
    const told = () => {
      const count = boxes.filter((box) => box.checked).length;
      form.querySelector("[data-chosen]").textContent = count ? `${count} selected` : "";
      all.textContent = count === boxes.length ? "Select none" : "Select all";
      for (const button of form.querySelectorAll("[name=action]")) button.disabled = !count;
    };
    all.addEventListener("click", () => {
      const some = boxes.some((box) => !box.checked);
      for (const box of boxes) box.checked = some;
      told();
    });
    for (const box of boxes) box.addEventListener("change", told);
    addEventListener("pageshow", told); // a browser that goes back keeps what was chosen
    told();
  }

  function choose(tile) {
    tile.parentElement.querySelector(".pick input").click();
  }

  // Changes that others make to a dataset

  async function watch(totals) {
    const notice = document.querySelector("[data-notice]");
    const before = { totals: totals.textContent, assets: Number.parseInt(totals.textContent.replaceAll(",", ""), 10) };
    for (;;) {
      await pause(WATCHED);
      if (document.hidden) continue;
      const found = await ask(totals.dataset.watch).catch((error) => error);
      if (found.status === 401 || found.status === 404) return;
      if (found instanceof Error || found.totals === totals.textContent) continue;
      totals.textContent = found.totals;
      const more = found.assets - before.assets;
      const words = more > 0 ? `${plural(more, "new asset")}. ` : "The dataset has changed. ";
      if (active || found.totals === before.totals) notice.replaceChildren();
      else notice.replaceChildren(words, make("a", { href: here(), textContent: "Show" }));
    }
  }

  // Running sessions

  async function follow(list) {
    for (;;) {
      const open = list.querySelector("[data-is=open]");
      await pause(open ? 1 : 5);
      if (document.hidden) continue;
      const found = await ask(list.dataset.state).catch((error) => error);
      if (found instanceof Error) {
        if (found.status === 401) return location.reload();
        continue;
      }
      for (const session of found.sessions) {
        const card = [...list.children].find((one) => one.dataset.session === session.id);
        if (card) update(card, session);
        else if (list.dataset.newest !== undefined) return location.reload();
      }
    }
  }

  function update(card, session) {
    const counts = card.querySelector("[data-counts]");
    if (card.dataset.is === session.state && counts.textContent === session.counts) return;
    card.dataset.is = session.state;
    const label = card.querySelector("[data-label]");
    label.textContent = session.label;
    label.className = `badge ${session.state}`;
    Object.assign(card.querySelector("progress"), { max: session.total, value: session.settled });
    counts.textContent = session.counts;
    if (session.state !== "open") card.querySelector("[data-stop]")?.remove();
    card.querySelector("[data-problems]").replaceChildren(...problemTable(session.problems));
  }

  function problemTable(problems) {
    if (!problems.length) return [];
    const groups = new Map();
    for (const one of problems) {
      const key = `${one.code} ${one.text}`;
      groups.set(key, [...(groups.get(key) ?? []), one]);
    }
    const rows = [...groups.values()].map((group) => {
      const long = group.length > UNSCROLLED ? { className: "long", tabIndex: 0 } : {};
      const several = () => make("ul", long, ...group.map((one) => make("li", {}, nameOf(one.name))));
      const names = group.length > 1 ? several() : nameOf(group[0].name);
      const count = group.length > 1 ? [make("strong", { textContent: plural(group.length, "file") }), " "] : [];
      const why = make("td", {}, ...count, make("code", { textContent: group[0].code }), ` ${group[0].text}`);
      return make("tr", {}, make("td", {}, names), why);
    });
    const head = make("tr", {}, make("th", { scope: "col", textContent: "File" }), make("th", { scope: "col", textContent: "Why it was not stored" }));
    return [make("table", { className: "problems" }, make("thead", {}, head), make("tbody", {}, ...rows))];
  }

  // What was dropped

  async function collect(transfer) {
    // All of them at once: after the first wait the list is empty.
    const items = [...transfer.items].filter((item) => item.kind === "file");
    const dropped = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
    const found = { files: [], skipped: 0 };
    for (const one of dropped) {
      if (one instanceof File) found.files.push(one);
      else await walk(one, found, false);
    }
    return found;
  }

  async function walk(entry, found, inFolder) {
    if (entry.isFile) {
      // Files of a folder that are not pictures are skipped, as in the shell.
      if (inFolder && (entry.name.startsWith(".") || !typeOf(entry.name))) found.skipped += 1;
      else found.files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const one of some.sort((a, b) => (a.name < b.name ? -1 : 1))) await walk(one, found, true);
    }
  }

  const form = document.querySelector("form[data-upload]");
  const types = form ? JSON.parse(form.dataset.types) : {};

  function typeOf(name) {
    const dot = name.lastIndexOf(".");
    return dot > 0 ? types[name.slice(dot).toLowerCase()] : undefined;
  }

  // Uploads

  let active = 0;
  let imperfect = false;

  class Row {
    constructor(list, file) {
      this.file = file;
      this.settled = this.lost = this.expired = false;
      this.sessions = this.sent = 0;
      this.list = list;
      this.bar = make("progress", { max: Math.max(1, file.size), value: 0, ariaLabel: `Sent of ${file.name}` });
      this.outcome = make("span", { className: "outcome", textContent: "waiting" });
    }

    // Into a session, perhaps not the first.
    begin() {
      this.sessions += 1;
      this.lost = this.expired = false;
    }

    show() {
      if (this.element) return;
      const small = make("span", { className: "small" });
      if (canBeShown(this.file)) {
        const image = make("img", { className: "small", alt: "", src: URL.createObjectURL(this.file) });
        image.onload = () => URL.revokeObjectURL(image.src);
        image.onerror = () => {
          URL.revokeObjectURL(image.src);
          image.replaceWith(small);
        };
        this.small = image;
      }
      this.element = make("li", {}, this.small ?? small, make("span", { className: "name" }, nameOf(this.file.name)), this.bar, this.outcome);
      this.list.append(this.element);
    }

    say(text, state) {
      this.outcome.textContent = text;
      if (this.element && state) this.element.className = state;
    }

    settle(state, text) {
      if (this.settled) return;
      this.settled = true;
      this.state = state;
      if (state === "failed") this.show();
      this.bar.remove();
      this.say(text, state);
      if (state === "stored" && this.list.children.length > ROWS) this.element?.remove();
      if (state === "failed") this.list.prepend(this.element);
    }
  }

  const canBeShown = (file) => /^image\/(jpeg|png|gif|webp|avif|bmp)$/.test(typeOf(file.name) ?? "") && file.size < PREVIEWED;

  class Upload {
    constructor(files, skipped) {
      const id = [...crypto.getRandomValues(new Uint8Array(8))].map((one) => one.toString(16).padStart(2, "0")).join("");
      this.label = `${id} the%20gallery`; // its sessions are one upload
      this.list = make("ul", { className: "files", tabIndex: 0, ariaLabel: "Files of this upload" });
      this.rows = files.map((file) => new Row(this.list, file));
      this.bytes = files.reduce((sum, file) => sum + file.size, 0);
      this.requests = new Set();
      this.stopped = false;
      this.title = make("h2", { textContent: `Uploading ${plural(files.length, "file")}` });
      this.bar = make("progress", { max: Math.max(1, this.bytes), value: 0, ariaLabel: "Bytes sent" });
      this.stop = make("button", { type: "button", className: "quiet", textContent: "Cancel", onclick: () => this.cancel() });
      this.head = make("header", {}, this.title, this.stop);
      this.status = make("p", { className: "quiet", role: "status" });
      this.passed = skipped ? `${plural(skipped, "file")} of other kinds passed over.` : "";
      this.status.textContent = this.passed;
      this.panel = make("section", { className: "transfer card" }, this.head, this.bar, this.status, this.list);
      this.panel.dataset.transfer = "going";
      form.after(this.panel);
    }

    async run() {
      active += 1;
      const names = new Set();
      const own = [];
      for (const row of this.rows) {
        if (names.has(row.file.name)) row.settle("failed", "Not sent: another file of this drop has the same name.");
        else own.push(row);
        names.add(row.file.name);
      }
      const left = [...own];
      while (left.length && !this.stopped) {
        const batch = this.take(left);
        try {
          await this.send(batch);
        } catch (error) {
          for (const row of batch) row.settle("failed", `Not stored: ${error.message}.`);
          if (error.status === 401) break;
        }
        left.unshift(...batch.filter((row) => !row.settled && row.expired));
      }
      for (const row of own) row.settle("failed", this.stopped ? "Cancelled." : "Not sent.");
      active -= 1;
      this.finish();
    }

    take(left) {
      const batch = [];
      for (let bytes = 0; left.length && batch.length < BATCH && (!batch.length || bytes + left[0].file.size <= BATCH_BYTES); ) {
        bytes += left[0].file.size;
        batch.push(left.shift());
      }
      for (const row of batch) row.begin();
      return batch;
    }

    async send(batch) {
      const assets = batch.map(({ file }) => {
        const mime = typeOf(file.name) ?? (file.type || "application/octet-stream");
        return { filename: file.name, kind: mime.startsWith("image/") || !typeOf(file.name) ? "Image" : "Video", mime, size: file.size };
      });
      const spec = { kind: "Upload", failureMode: "FailAfterAll", onAssetOverwritten: "RemoveLinkedResource", assets };
      const created = await persist(() => ask(form.dataset.upload, { spec }, "POST", { "Vi-Upload": this.label }));
      this.session = `${form.dataset.upload}/${created.assetIngestionSessionId}`;
      const byName = new Map(batch.map((row) => [row.file.name, row]));
      const waiting = (created.status.assets ?? []).map((one) => [byName.get(one.metadata.filename), one.upload]);
      const settled = this.watch(byName);
      await Promise.all(Array.from({ length: PLACES }, () => this.work(waiting)));
      if (this.stopped || batch.some((row) => row.lost)) await this.end(byName);
      await settled;
    }

    async work(waiting) {
      while (waiting.length && !this.stopped) {
        const [row, signed] = waiting.shift();
        row.show();
        row.say("sending");
        try {
          await persist(() => this.put(row, signed));
          row.say("checking");
        } catch (error) {
          row.lost = true;
          row.expired = (error.status === 403 || error.status === 410) && row.sessions < SESSIONS;
          if (!this.stopped && !row.expired) row.settle("failed", `Not stored: ${error.message}.`);
        }
      }
    }

    put(row, signed) {
      return new Promise((resolve, reject) => {
        if (this.stopped) return reject(new Refused("Cancelled", -1));
        const request = new XMLHttpRequest();
        this.requests.add(request);
        const told = (bytes) => {
          this.bar.value += bytes - row.sent;
          row.bar.value = row.sent = bytes;
        };
        // Only the path: the page may have been opened under another name of the service than the one it signs for.
        const address = new URL(signed.url, location.href);
        request.open(signed.method, address.pathname + address.search);
        for (const [name, value] of Object.entries(signed.headers)) request.setRequestHeader(name, value);
        request.upload.onprogress = (event) => told(Math.min(event.loaded, row.file.size));
        request.onloadend = () => {
          this.requests.delete(request);
          if (request.status >= 200 && request.status < 300) {
            told(row.file.size);
            resolve();
          } else {
            told(0);
            const why = request.status ? `the service answered ${request.status}` : "the connection broke, or the file cannot be read";
            reject(new Refused(why, this.stopped ? -1 : request.status, waitOf(request.getResponseHeader("Retry-After"))));
          }
        };
        request.send(row.file);
      });
    }

    refuse(rows, problems) {
      for (const one of problems) {
        const row = rows.get(one.name);
        if (!row) continue;
        if (one.code === "ETIMEOUT" && row.sessions < SESSIONS && !this.stopped) row.lost = row.expired = true;
        else row.settle("failed", `${one.code}: ${one.text}.`);
      }
    }

    // Asks until every file that was sent has its verdict.
    async watch(rows) {
      for (;;) {
        await pause(0.4);
        let session;
        try {
          [session] = (await ask(`${this.session}/state?alone`)).sessions;
        } catch (error) {
          if (TEMPORARY.includes(error.status)) continue;
          for (const row of rows.values()) row.settle("failed", `Its outcome is not known: ${error.message}.`);
          return;
        }
        this.refuse(rows, session.problems);
        if (session.state !== "open") {
          for (const row of rows.values()) {
            if (!row.lost && session.state !== "cancelled") row.settle("stored", "stored");
          }
          return;
        }
      }
    }

    // A file that will not come would keep the session open until its address expires.
    async end(rows) {
      const lost = [...rows.values()].filter((row) => row.lost).length;
      while (!this.stopped) {
        const [session] = (await persist(() => ask(`${this.session}/state?alone`))).sessions;
        if (session.state !== "open" || session.settled + lost >= session.total) {
          this.refuse(rows, session.problems);
          for (const row of rows.values()) if (!row.lost && session.state !== "cancelled") row.settle("stored", "stored");
          break;
        }
        await pause(0.4);
      }
      await ask(`${this.session}/cancel`, {}).catch(() => {});
    }

    cancel() {
      this.stopped = true;
      this.stop.disabled = true;
      for (const request of this.requests) request.abort();
    }

    finish() {
      const stored = this.rows.filter((row) => row.state === "stored").length;
      const failed = this.rows.length - stored;
      this.panel.dataset.transfer = "ended";
      this.bar.remove();
      this.title.textContent = failed ? `${plural(stored, "file")} stored, ${failed.toLocaleString()} not` : `${plural(stored, "file")} stored`;
      let words = "";
      if (this.stopped) words = "Cancelled. What had been stored by then stays. ";
      else if (failed) words = "What was not stored is named below; the rest is in the dataset. ";
      this.status.textContent = words + this.passed;
      const link = make("a", { className: "button primary", href: form.dataset.shown, textContent: "Show the dataset" });
      this.stop.replaceWith(link);
      imperfect ||= failed > 0;
      if (!active && !imperfect) location.assign(form.dataset.shown);
    }
  }

  function begin(files, skipped = 0) {
    if (files.length || skipped) new Upload(files, skipped).run();
  }

  function takeDrops() {
    const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault(); // also where there is nothing to drop on: the browser would leave the page for the file
      event.dataTransfer.dropEffect = form ? "copy" : "none";
      if (form) document.body.classList.add("dropping");
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dropping");
    });
    addEventListener("drop", async (event) => {
      document.body.classList.remove("dropping");
      if (!holdsFiles(event)) return;
      event.preventDefault();
      if (!form) return;
      const found = await collect(event.dataTransfer);
      begin(found.files, found.skipped);
    });
    const chosen = form?.querySelector("input[type=file]");
    chosen?.addEventListener("change", () => {
      begin([...chosen.files]);
      chosen.value = "";
    });
    addEventListener("beforeunload", (event) => {
      if (active) event.preventDefault();
    });
  }

  // A thumbnail stays in sight until the larger picture is there; only those that came into sight have one made.
  function sharpen() {
    if (devicePixelRatio <= 1.3) return;
    for (const picture of document.querySelectorAll("img[data-dense]")) {
      const sharp = () => (picture.srcset = `${picture.getAttribute("src")} 1x, ${picture.dataset.dense} 2x`);
      if (picture.complete) sharp();
      else picture.addEventListener("load", sharp, { once: true });
    }
  }

  document.documentElement.classList.add("js");
  sharpen();
  localTimes();
  keepPlace();
  takeChoices();
  takeDrops();
  addEventListener("keydown", onKey);
  const totals = document.querySelector("[data-watch]");
  if (totals) watch(totals);
  const list = document.querySelector("[data-state]");
  if (list) follow(list);
}
