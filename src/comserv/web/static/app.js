// What the pages do beyond forms and links: live parts, copy buttons, dialogs, find or do, keyboard, selection, notices.
// Nothing here is needed to get work done; everything falls back to plain forms and links.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const skew = Date.parse(document.documentElement.dataset.now) - Date.now(); // the server's clock counts

// ---------- relative times: the same words as web/measures.py ----------
function length(seconds) {
  for (const [limit, unit, name] of [[172800, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"]])
    if (seconds >= limit) return `${Math.floor(seconds / unit)} ${name}`;
  return `${Math.max(0, Math.floor(seconds))} s`;
}
function tellTimes() {
  const now = Date.now() + skew;
  for (const time of $$("time[data-until]")) {
    const left = (Date.parse(time.dateTime) - now) / 1000;
    const words = left >= 1 ? `in ${length(left)}` : "now";
    if (time.textContent !== words) time.textContent = words;
  }
  for (const time of $$("time[data-ago], time[data-since]")) {
    const words = length((now - Date.parse(time.dateTime)) / 1000) + ("ago" in time.dataset ? " ago" : "");
    if (time.textContent !== words) time.textContent = words;
  }
}
setInterval(() => document.hidden || tellTimes(), 1000);

// ---------- the live line ----------
let heard = 0, lost = 0;
const live = $("#live");
function tellLive() {
  if (!live || !(heard || lost)) return;
  const glyph = $("[data-live-glyph]", live), word = $("[data-live-word]", live), age = $("[data-live-age]", live);
  const say = (text) => word.textContent === text || (word.textContent = text); // a status: only when it changes
  const quiet = (Date.now() - heard) / 1000;
  if (lost || quiet > 15) {
    const since = new Date(lost || heard).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    glyph.className = "st is-warn";
    say("Not live");
    age.textContent = `since ${since}, trying again`;
  } else {
    glyph.className = "st is-ok";
    say("Live,");
    age.textContent = `heard ${length(quiet)} ago`;
  }
}
setInterval(() => document.hidden || tellLive(), 1000);
function hear() { heard = Date.now(); lost = 0; tellLive(); }
addEventListener("tick", hear);
addEventListener("htmx:sse:after:message", hear);
addEventListener("htmx:sse:error", (event) => {
  lost ||= Date.now();
  if (event.detail.status === 401) location.reload();
  tellLive();
});
addEventListener("signed-out", () => location.reload());

// ---------- taking over live parts ----------
// rows: rows that are there change in place; new ones and those that went are offered, never moved under the pointer.
// changed-rows: the same list in the same order, of which only some rows are sent.
// calm: a list waits until the pointer and the focus have left it.
let api, offered = null;
function takeRow(there, row) {
  const single = document.createDocumentFragment();
  single.append(row.cloneNode(true));
  api.morph(there, single, false);
}
function takeChangedRows(body, fragment) {
  for (const row of $$("tr[id]", fragment)) {
    const there = document.getElementById(row.id), place = offered ? offered.findIndex((one) => one.id === row.id) : -1;
    if (there) takeRow(there, row);
    if (place >= 0) offered[place] = row.cloneNode(true);
  }
  return [...body.children];
}
function takeRows(body, fragment) {
  const fresh = $$("tr[id]", fragment), names = new Set(fresh.map((row) => row.id));
  const old = new Map($$("tr[id]", body).map((row) => [row.id, row]));
  let added = 0;
  for (const row of fresh) {
    const there = old.get(row.id);
    if (!there) { added += 1; continue; }
    takeRow(there, row);
  }
  let gone = 0;
  for (const [name, row] of old) { row.classList.toggle("gone", !names.has(name)); gone += !names.has(name); }
  const moved = !added && !gone && fresh.some((row, place) => row.id !== [...old.keys()][place]);
  offer(body, fresh, added, gone, moved);
  return [...body.children];
}
function offer(body, fresh, added, gone, moved) {
  const news = $("#news");
  if (!news) return;
  const words = [added && `${added} new`, gone && `${gone} gone`, moved && "another order"].filter(Boolean).join(", ");
  offered = words ? fresh : null;
  if (!words) return news.replaceChildren();
  const button = Object.assign(document.createElement("button"), { type: "button", className: "btn btn-sm", textContent: `${words}, show` });
  button.addEventListener("click", () => { if (offered) showRows(body, offered); news.replaceChildren(); });
  news.replaceChildren(button);
}
function showRows(body, fresh) {
  const chosen = new Set($$("td.pick input:checked", body).map((box) => box.value));
  body.replaceChildren(...fresh);
  for (const box of picks(body)) box.checked = chosen.has(box.value);
  selected();
}
const postponed = new Map();
function takeCalmly(target, fragment) {
  const html = fragment.cloneNode(true);
  if (!(target.matches(":hover") || target.contains(document.activeElement))) { postponed.delete(target); api.morph(target, html, true); return; }
  if (!postponed.has(target)) {
    const later = () => setTimeout(() => { const kept = postponed.get(target); if (kept && !target.matches(":hover")) takeCalmly(target, kept); }, 150);
    target.addEventListener("pointerleave", later);
    target.addEventListener("focusout", later);
  }
  postponed.set(target, html);
}
htmx.registerExtension("comserv", {
  init: (internal) => { api = internal; },
  htmx_before_morph_attr: (element, { attrName }) => !(attrName === "open" && element.matches("details, dialog")),
  handle_swap: (style, target, fragment) => {
    if (style === "rows") return takeRows(target, fragment);
    if (style === "changed-rows") return takeChangedRows(target, fragment);
    if (style === "calm") { takeCalmly(target, fragment); return [...target.children]; }
    return false;
  },
});

// ---------- copy ----------
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("copied");
  toast("Copied");
  setTimeout(() => button.classList.remove("copied"), 1200);
});

// ---------- dialogs ----------
const dialog = $("#dialog"), finder = $("#find");
document.addEventListener("click", async (event) => {
  if (event.target.closest("[data-close]")) return event.target.closest("dialog").close();
  if (event.target instanceof HTMLDialogElement) return event.target.close(); // a click beside it
  const link = event.target.closest("a[data-dialog]");
  if (!link || !dialog || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  link.closest("[popover]")?.hidePopover();
  await htmx.ajax("GET", link.href, { source: dialog, target: "#dialog", swap: "innerHTML" });
  if (!dialog.open) dialog.showModal();
  $("[autofocus], button.btn:not(.btn-danger)", dialog)?.focus();
});
document.addEventListener("click", (event) => { // a chosen menu item closes its menu
  if (event.target.closest(".dropdown-item")) event.target.closest("[popover]")?.hidePopover();
});
document.addEventListener("submit", (event) => { // a name to type, a blocked plan
  const typed = $("[data-must]", event.target);
  if (typed && typed.value.trim() !== typed.dataset.must) { event.preventDefault(); typed.setAttribute("aria-invalid", "true"); typed.focus(); }
  if (event.submitter?.getAttribute("aria-disabled") === "true") event.preventDefault();
});

// ---------- forms: faults by field, another server or template ----------
function blame(root) {
  const said = $("[data-faults]", root);
  const form = root.closest?.("form[data-fields]") ?? $("form[data-fields]");
  if (!said || !form) return;
  const faults = JSON.parse(said.dataset.faults);
  for (const hint of $$("[data-field]", form)) {
    const fault = faults[hint.dataset.field], input = $(`[aria-describedby~="${hint.id}"]`, form);
    const text = fault || hint.dataset.hint;
    if (hint.textContent !== text) hint.textContent = text;
    hint.classList.toggle("hue", !!fault);
    hint.classList.toggle("is-bad", !!fault);
    if (fault) input?.setAttribute("aria-invalid", "true"); else input?.removeAttribute("aria-invalid");
  }
}
addEventListener("htmx:after:swap", (event) => blame(event.target instanceof Element ? event.target : document.body));
document.addEventListener("change", async (event) => {
  const select = event.target.closest("select[data-reload]");
  if (!select) return;
  const form = new FormData(select.form);
  form.set("do", select.dataset.reload);
  await htmx.ajax("POST", select.form.getAttribute("action"), { source: document.body, values: Object.fromEntries(form), target: "#create", select: "#create", swap: "outerHTML" });
  $(`#${select.id}`)?.focus();
});

// ---------- filter field: Backspace in an empty one takes the last chip ----------
document.addEventListener("keydown", (event) => {
  const field = event.target.closest("form[data-filter] input[name=add]");
  if (field && event.key === "Backspace" && !field.value) $$(".chip a", field.form).at(-1)?.click();
});

// ---------- tables: selection and keys ----------
const picks = (root = document) => $$("td.pick input", root);
function selected() {
  const form = $("form[data-table]"), bar = $(".selbar");
  if (!form || !bar) return;
  const rows = picks(form).filter((box) => box.checked).map((box) => box.closest("tr"));
  $("[data-selected]", bar).textContent = `${rows.length} selected`;
  const all = $("[data-all]", form);
  all.checked = rows.length > 0 && rows.length === picks(form).length;
  all.indeterminate = rows.length > 0 && !all.checked;
  for (const button of $$("[data-verb]", bar)) {
    const fits = rows.filter((row) => row.dataset.can.split(" ").includes(button.dataset.verb)).length;
    const barred = rows.filter((row) => (row.dataset.barred ?? "").split(" ").includes(button.dataset.verb));
    button.hidden = !fits && !barred.length;
    $("[data-count]", button).textContent = fits;
    if (fits || !barred.length) { button.removeAttribute("aria-disabled"); button.removeAttribute("aria-describedby"); button.title = ""; } else {
      button.setAttribute("aria-disabled", "true"); // reached by keyboard, and says why
      button.setAttribute("aria-describedby", "barred");
      button.title = barred[0].dataset.why;
    }
  }
  const barred = rows.filter((row) => row.dataset.why), told = $("#barred");
  const why = barred.length ? barred[0].dataset.why + (barred.length > 1 ? ` The same for ${barred.length - 1} more.` : "") : "";
  if (told && told.textContent !== why) told.textContent = why;
}
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) picks().forEach((box) => { box.checked = event.target.checked; });
  if (event.target.matches(".pick input")) selected();
});
document.addEventListener("reset", () => setTimeout(selected));
document.addEventListener("submit", (event) => { // a verb goes only to those that it fits
  const verb = event.submitter?.dataset.verb;
  if (!verb || !event.target.matches("[data-table]")) return;
  for (const box of picks(event.target)) box.disabled = box.checked && !box.closest("tr").dataset.can.split(" ").includes(verb);
});
addEventListener("pageshow", () => { picks().forEach((box) => { box.disabled = false; }); selected(); });
let anchor = null;
function moveRow(step, extend) {
  const rows = $$("[data-table] tbody tr[id]");
  if (!rows.length) return false;
  const at = rows.indexOf(document.activeElement.closest("tr"));
  const row = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))];
  $("a", row).focus();
  if (extend) { const box = $(".pick input", row); if (box) { box.checked = true; selected(); } }
  return true;
}

// ---------- find or do ----------
function find() {
  if (!finder || finder.open) return;
  finder.showModal();
  const text = $("#find-text");
  text.select();
  htmx.trigger(text, "open");
}
document.addEventListener("click", (event) => {
  if (event.target.closest("a[data-find]") && finder) { event.preventDefault(); find(); }
});
finder?.addEventListener("keydown", (event) => {
  const options = $$("#found a[role=option]"), at = options.findIndex((one) => one.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    choose(options, (at + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length);
  } else if (event.key === "Enter" && options[at]) {
    event.preventDefault();
    options[at].click();
  }
});
function choose(options, place) {
  options.forEach((one, index) => one.setAttribute("aria-selected", String(index === place)));
  options[place]?.scrollIntoView({ block: "nearest" });
  const text = $("#find-text");
  if (options[place]) text.setAttribute("aria-activedescendant", options[place].id); else text.removeAttribute("aria-activedescendant");
}
addEventListener("htmx:after:swap", () => { if (finder?.open) choose($$("#found a[role=option]"), 0); });

// ---------- keyboard ----------
const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const keysOn = () => kept("comserv-keys") !== "off";
const PAGES = { o: "/", g: "/guests", j: "/jobs", s: "/servers" };
let leading = 0;
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); return find(); }
  if (event.ctrlKey || event.metaKey || event.altKey || !keysOn() || $("dialog[open]")) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
  const row = document.activeElement.closest("[data-table] tr[id]");
  const lead = Date.now() - leading < 1500;
  leading = 0;
  if (lead && PAGES[event.key]) location.assign(PAGES[event.key]);
  else if (event.key === "/") { event.preventDefault(); find(); }
  else if (event.key === "g") leading = Date.now();
  else if (event.key === ".") { const menu = $('[data-key="."]'); if (menu) { event.preventDefault(); menu.click(); } }
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") { if (moveRow(event.key === "ArrowDown" ? 1 : -1, event.shiftKey)) event.preventDefault(); }
  else if (event.key === "x" && row) { const box = $(".pick input", row); if (box) { box.checked = !box.checked; selected(); } }
  else if (event.key === "Escape") { const form = $("form[data-table]"); if (form) { picks(form).forEach((box) => { box.checked = false; }); selected(); } }
});
const keys = $("[data-keys]");
if (keys) {
  keys.checked = keysOn();
  keys.addEventListener("change", () => localStorage.setItem("comserv-keys", keys.checked ? "on" : "off"));
}

// ---------- a job ends: title, toast, notice; in a hidden tab by a small poll, since the stream pauses there ----------
const title = document.title, began = Date.now() + skew;
const told = new Set();
function toast(text, href) {
  const place = $("#toasts");
  if (!place) return;
  const note = Object.assign(document.createElement(href ? "a" : "div"), { className: "toast-note", textContent: text });
  if (href) note.href = href;
  place.append(note);
  setTimeout(() => note.remove(), href ? 8000 : 1600);
}
const wantsNotices = () => kept("comserv-notices") === "on" && "Notification" in window && Notification.permission === "granted";
async function pulse() {
  if (!$("#stream")) return;
  const reply = await fetch("/pulse", { headers: { Accept: "application/json" } });
  if (!reply.ok || reply.redirected) return;
  for (const job of (await reply.json()).ended) {
    if (told.has(job.id) || Date.parse(job.ended) < began) continue;
    told.add(job.id);
    const words = `${job.title}: ${job.state}`;
    if (document.hidden) {
      document.title = `${job.state === "succeeded" ? "✓" : "✗"} ${words}`;
      if (wantsNotices()) new Notification(words, { tag: job.id }).onclick = () => { focus(); location.assign(job.href); };
    } else if (location.pathname !== job.href) toast(words, job.href);
  }
}
let soon = 0;
addEventListener("job", () => { clearTimeout(soon); soon = setTimeout(pulse, 400); });
let polling = 0;
document.addEventListener("visibilitychange", () => {
  clearInterval(polling);
  if (document.hidden) polling = setInterval(pulse, 15000);
  else { document.title = title; tellTimes(); }
});
document.addEventListener("change", (event) => { // another look is tried at once, and kept by its button
  if (!event.target.closest("[data-theme]")) return;
  if (event.target.value) document.documentElement.dataset.bsTheme = event.target.value; else delete document.documentElement.dataset.bsTheme;
});
const notices = $("[data-notices]");
if (notices) {
  notices.checked = wantsNotices();
  notices.addEventListener("change", async () => {
    const allowed = notices.checked && (await Notification.requestPermission()) === "granted";
    notices.checked = allowed;
    localStorage.setItem("comserv-notices", allowed ? "on" : "off");
  });
}

document.documentElement.classList.add("scripted");
selected();
blame(document.body);
tellTimes();
