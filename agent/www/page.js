/* The node's page.
 * - Shows what the agent says and judges nothing: state, sentences and remedies are the agent's own.
 * - When the agent falls silent the headline says so, and since when: "healthy" never outlives its answer. What its
 *   store said last, and a list that is no longer answered, is told as old.
 * - Everything the agent says becomes text (`el`), whatever stands in it.
 */

import { TimeChart, flagged, gaps } from "/static/chart.js";
import { Watch, bytes, el, fill, lasting, moment, timeOf, unit } from "/static/shared.js";

const HISTORY_MS = 60_000;
const PATIENCE_MS = 15_000;
/** What the agent says of its flags, clocks and keys; with every status. */
let meaning = { flags: {}, clocks: {}, keys: {} };
const words = (flags) =>
  Object.entries(meaning.flags)
    .filter(([bit]) => flags & Number(bit))
    .map(([, word]) => word)
    .join(", ");
const amount = (value) => (Math.abs(value) >= 1e7 ? value.toExponential(4) : String(+value.toPrecision(7)));
const sure = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/* How it is */

const TONE = { error: "bad", warning: "warn" };

function showState(status) {
  document.body.classList.remove("silent");
  const [worst, ...others] = status.conditions;
  const tone = worst ? (TONE[worst.severity] ?? "warn") : "good";
  document.getElementById("state").className = `card state ${tone}`;
  document.title = `${worst ? "! " : "✓ "}Fieldproof node`;
  const age = status.last_receipted_reading_age_s;
  fill(
    "state",
    el("h2", { class: worst?.sentence.length > 60 ? "long" : null }, worst ? worst.sentence : "All is well."),
    worst?.remedy ? remedy(worst) : null,
    others.length ? el("ul", {}, others.map((c) => el("li", {}, el("strong", {}, c.sentence), remedy(c)))) : null,
    el(
      "p",
      { class: "quiet" },
      age === null ? "No reading is known to have arrived yet." : `The newest reading that is ${status.answered ? "proven" : "known"} to have arrived is ${rough(age)} old.`,
      " ",
      stood(status),
      isKnown(status) ? waiting(status) : null,
    ),
  );
}

const isKnown = (status) => status.answered || status.answered_at_s !== null;

/** Before what the store said; "" where it says so now. */
function stood(status) {
  if (status.answered) return "";
  return `The store does not answer. ${isKnown(status) ? `As it stood at ${moment(status.answered_at_s)}: ` : "What it holds is not known."}`;
}

const remedy = (condition) => (condition.remedy ? el("p", {}, "What to do: ", condition.remedy) : null);
const rough = (seconds) => (seconds < 100 ? `${Math.max(10, Math.ceil(seconds / 10) * 10)} seconds` : lasting(seconds));

function waiting({ proofs, readings }) {
  const kept = [];
  if (proofs.unreceipted) kept.push(`${sure(proofs.unreceipted, "proof")} of ${sure(readings.unreceipted, "reading")}`);
  if (readings.unsealed) kept.push(`${sure(readings.unsealed, "reading")} not yet in a proof`);
  return kept.length ? `Kept here until they have arrived: ${kept.join(", ")}.` : "Nothing waits.";
}

function showSilence(sinceMs) {
  document.body.classList.add("silent");
  document.getElementById("state").className = "card state bad";
  document.title = "✕ no answer – Fieldproof node";
  fill(
    "state",
    el("h2", {}, "The agent does not answer."),
    el(
      "p",
      {},
      sinceMs === null
        ? "It has not answered since this page was opened."
        : `Its last answer came at ${moment(sinceMs / 1000)}. Everything below is from then, and may be wrong now.`,
    ),
    el(
      "p",
      {},
      "What to do: see whether the device has power and is in this network. On the device: ",
      el("code", {}, "systemctl status fieldproof-agent"),
      ". This page asks again by itself.",
    ),
  );
}

/* Now */

function showNow(status) {
  fill(
    "who",
    status.device.replace("did:key:", "").slice(-8),
    ` in network ${status.network}`,
    status.key_class === "sim" ? [" ", el("span", { class: "mark warn" }, "simulated")] : null,
    status.kind === "test" ? [" ", el("span", { class: "mark warn" }, "test network")] : null,
  );
  fill("version", `Fieldproof ${status.version}.`);
  fill("now", status.instruments.map((i) => instrument(i, status.newest[i.name], status.now_s)));
}

function instrument(known, newest, nowS) {
  const old = known.problem !== "" || known.ended;
  return el(
    "article",
    { class: `card instrument${old ? " old" : ""}` },
    el("h3", {}, known.name, known.model ? el("span", { class: "quiet small" }, known.model) : null),
    newest?.flags ? el("p", {}, el("span", { class: "mark warn" }, "flagged"), " ", words(newest.flags)) : null,
    known.problem ? el("p", {}, el("span", { class: "mark bad" }, "problem"), " ", known.problem) : null,
    newest
      ? el(
          "dl",
          { class: "values" },
          newest.values.map(([quantity, name, value, digits]) =>
            el("div", {}, el("dt", {}, quantity), el("dd", {}, value.toFixed(digits), " ", el("span", { class: "unit" }, unit(name)))),
          ),
        )
      : el("p", { class: "quiet" }, "No reading yet."),
    newest
      ? el("p", { class: "quiet small" }, "Read at ", timeOf(newest.at_s), old ? `, ${lasting(nowS - newest.at_s)} ago` : "", missed(known))
      : null,
  );
}

const missed = (known) => (known.missed ? `; ${sure(known.missed, "reading")} missed since the start` : "");

/* The last 48 hours */

const charts = new Map();

function chartOf(name, quantity, unitName) {
  const key = `${name}/${quantity}`;
  if (!charts.has(key)) charts.set(key, new Figure(name, quantity, unitName, charts.size));
  return charts.get(key);
}

class Figure {
  constructor(name, quantity, unitName, number) {
    this.title = `${quantity} of ${name}`;
    this.unit = unit(unitName);
    this.summary = el("p", { class: "quiet" });
    this.plot = el("div", { class: "plot", "aria-hidden": "true" });
    const id = `moment-${number}`;
    this.slider = el("input", { type: "range", id, min: 0, max: 0, value: 0, step: 1 });
    this.readout = el("output", { class: "readout", for: id });
    this.rows = el("tbody");
    this.table = el(
      "details",
      {},
      el("summary", {}, `${this.title} as a table`),
      el(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": `${this.title}, table` },
        el(
          "table",
          {},
          el("caption", {}, `Hours, newest first, in ${this.unit || "no unit"}`),
          el("thead", {}, el("tr", {}, ["From", "Mean", "Least", "Greatest", "Readings", "Flags"].map((h, n) => el("th", { scope: "col", class: n && n < 5 ? "number" : null }, h)))),
          this.rows,
        ),
      ),
    );
    const title = el("h3", {}, this.title, " ", el("span", { class: "quiet small" }, this.unit));
    this.node = el(
      "figure",
      {},
      el("figcaption", {}, title, this.summary),
      this.plot,
      el("label", { for: id, class: "hidden-visually" }, `Look at one moment of ${this.title}`),
      this.slider,
      this.readout,
      this.table,
    );
    document.getElementById("charts").append(this.node);
    this.chart = new TimeChart(this.plot);
    this.slider.addEventListener("input", () => this.read());
    this.table.addEventListener("toggle", () => this.tabulate());
  }

  show(series, told) {
    const { width_s: widthS, interval_s: intervalS, now_s: nowS } = told;
    this.series = series;
    this.widthS = widthS;
    const holeS = intervalS <= widthS / 2 ? 1.5 * widthS : 1.5 * intervalS + widthS;
    const holes = gaps(series, widthS, holeS, nowS);
    this.chart.show(series, { sinceS: nowS - 48 * 3600, untilS: nowS, gaps: holes, widthS });
    const atEnd = this.slider.value === this.slider.max;
    this.slider.max = Math.max(0, series.t.length - 1);
    if (atEnd) this.slider.value = this.slider.max;
    this.slider.disabled = !series.t.length;
    this.read();
    this.summarise(holes);
    if (this.table.open) this.tabulate();
  }

  summarise(holes) {
    const { mean, min, max } = this.series;
    const some = mean.some((value) => value !== null);
    if (!some) return this.summary.replaceChildren("Nothing was measured.");
    const least = Math.min(...min.filter((v) => v !== null));
    const greatest = Math.max(...max.filter((v) => v !== null));
    const marked = flagged(this.series, this.widthS);
    const flags = marked.reduce((all, m) => all | m.flags, 0);
    this.summary.replaceChildren(
      `${amount(least)} to ${amount(greatest)} ${this.unit}`.trim() + ". ",
      holes.length ? `${sure(holes.length, "gap")}: ${holes.slice(-3).map(stretch).join("; ")}${holes.length > 3 ? " …" : ""}. ` : "No gaps. ",
      ...(marked.length
        ? [el("span", { class: "mark warn" }, "flagged"), ` ${marked.slice(-3).map((m) => stretch([m.from, m.until])).join("; ")}${marked.length > 3 ? " …" : ""}: ${words(flags)}.`]
        : []),
    );
  }

  read() {
    const i = Number(this.slider.value);
    const text = this.series.t.length ? sentence(this.series, i, this.unit) : "";
    this.readout.textContent = text;
    this.slider.setAttribute("aria-valuetext", text);
    this.chart.point(this.series.t.length && this.series.mean[i] !== null ? i : null);
  }

  tabulate() {
    if (this.table.open && this.series) this.rows.replaceChildren(...hourly(this.series));
  }
}

const SHORT = { withSeconds: false };

/** The day is said once where both are of one. */
function stretch([from, until]) {
  const [begin, end] = [moment(from, SHORT), moment(until, SHORT)];
  return `${begin} to ${begin.slice(0, -5) === end.slice(0, -5) ? end.slice(-5) : end}`;
}

const places = (value) => (String(value).split(".")[1] ?? "").length;

/** A mean as exact as what it is made of. */
const meanOf = (mean, min, max) => mean.toFixed(Math.min(6, Math.max(places(min), places(max))));

function sentence({ t, mean, min, max, count, flags }, i, unitName) {
  const at = moment(t[i], SHORT);
  if (mean[i] === null) return `${at}: nothing was measured`;
  const marks = flags[i] ? `, flagged: ${words(flags[i])}` : "";
  return `${at}: ${meanOf(mean[i], min[i], max[i])} ${unitName} (${amount(min[i])} to ${amount(max[i])}, ${sure(count[i], "reading")})${marks}`;
}

function hourly({ t, mean, min, max, count, flags }) {
  const rows = new Map();
  const empty = () => ({ sum: 0, count: 0, min: Infinity, max: -Infinity, flags: 0 });
  const first = Math.floor(t[0] / 3600) * 3600;
  for (let hour = first; hour <= t[t.length - 1]; hour += 3600) rows.set(hour, empty());
  t.forEach((s, i) => {
    if (mean[i] === null) return;
    const row = rows.get(Math.floor(s / 3600) * 3600);
    row.sum += mean[i] * count[i];
    row.count += count[i];
    row.min = Math.min(row.min, min[i]);
    row.max = Math.max(row.max, max[i]);
    row.flags |= flags[i];
  });
  return [...rows.entries()].reverse().map(([hour, row]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, timeOf(hour, SHORT)),
      (row.count ? [meanOf(row.sum / row.count, row.min, row.max), amount(row.min), amount(row.max), row.count] : ["–", "–", "–", 0]).map((v) =>
        el("td", { class: "number" }, String(v)),
      ),
      el("td", {}, row.flags ? [el("span", { class: "mark warn" }, "flagged"), " ", words(row.flags)] : row.count ? "" : "nothing was measured"),
    ),
  );
}

async function showHistory(status) {
  for (const { name } of status.instruments) {
    const answer = await fetch(`/api/history?hours=48&instrument=${encodeURIComponent(name)}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) continue;
    const [told] = await answer.json();
    for (const series of told.series) chartOf(name, series.quantity, series.unit).show(series, told);
  }
}

const FILLING = {
  filling: "What was before the agent's start is still being read from its store.",
  failed: "What was before the agent's start cannot be read from its store now; the agent tries again every minute.",
};
const shown = { atMs: 0, state: null, busy: false };

async function considerHistory(status) {
  fill("filling", FILLING[status.history] ?? "");
  const due = Date.now() - shown.atMs >= (status.history === "filling" ? 4000 : HISTORY_MS);
  if (shown.busy || !(due || status.history !== shown.state)) return;
  shown.busy = true;
  try {
    await showHistory(status);
    Object.assign(shown, { atMs: Date.now(), state: status.history });
  } catch (error) {
    console.warn(`history: ${error.message}`);
  } finally {
    shown.busy = false;
  }
}

/* The way of the last proofs */

function showProofs(proofs) {
  if (!proofs.length) return fill("proofs", el("p", { class: "quiet" }, "No proof was sealed yet."));
  return fill("proofs", el("ol", { class: "proofs" }, proofs.slice(0, 6).map(proofRow)), older(proofs.slice(6)));
}

function proofRow(proof) {
  return el(
    "li",
    {},
    el("strong", {}, `Proof ${proof.seq}`),
    ` ${proof.readings ? sure(proof.readings, "reading") : "no readings: a sign of life"}`,
    el(
      "ol",
      { class: "way" },
      step("captured", true, proof.readings ? [timeOf(proof.first_s), " to ", timeOf(proof.last_s)] : "–"),
      step("sealed", true, proof.sealed_s === null ? "time no longer kept" : timeOf(proof.sealed_s)),
      step("sent", proof.sent_s !== null || proof.receipted_s !== null, proof.sent_s !== null ? timeOf(proof.sent_s) : proof.receipted_s !== null ? "before the last start" : "not yet"),
      step("receipted", proof.receipted_s !== null, proof.receipted_s !== null ? timeOf(proof.receipted_s) : "not yet"),
    ),
  );
}

const step = (name, done, said) => el("li", { class: done ? "done" : "open" }, el("b", {}, `${done ? "✓" : "○"} ${name}`), said);

function older(proofs) {
  if (!proofs.length) return null;
  const done = proofs.filter((proof) => proof.receipted_s !== null).length;
  return el("p", { class: "quiet small" }, `Of the ${proofs.length} before these, ${done} ${done === 1 ? "is" : "are"} receipted.`);
}

/* Store, trust, log */

const old = (...said) => el("p", {}, el("span", { class: "mark warn" }, "old"), " ", ...said);

function showStore(status) {
  const { journal, readings, proofs } = status;
  const part = journal.bytes / journal.max_bytes;
  if (!isKnown(status)) return fill("journal", old(stood(status)));
  return fill(
    "journal",
    status.answered ? null : old(stood(status)),
    el("p", {}, el("label", { for: "journal-fill" }, `${bytes(journal.bytes)} of ${bytes(journal.max_bytes)} are used (${part < 0.01 ? "less than 1" : Math.round(part * 100)} %).`), el("meter", { id: "journal-fill", min: 0, max: 1, high: 0.9, value: part.toFixed(3) })),
    pairs([
      ["Captured", `${sure(readings.captured, "reading")}, ${sure(proofs.sealed, "proof")} sealed`],
      ["Waiting for a receipt", `${sure(proofs.unreceipted, "proof")}, ${sure(readings.unreceipted, "reading")}`],
      ["Not yet in a proof", sure(readings.unsealed, "reading")],
      journal.free_bytes === null || journal.free_bytes === undefined ? null : ["Free on the disk", bytes(journal.free_bytes)],
      journal.loss_window_s ? ["A power cut may take", `the last ${lasting(journal.loss_window_s)}`] : ["A power cut may take", "nothing that was captured"],
    ]),
  );
}

function showTrust(status) {
  const { clock } = status;
  const known = meaning.clocks[clock.source] ?? "unknown";
  const certificates = Object.entries(status.calibrations).flatMap(([name, list]) => list.map(([quantity, expires]) => [name, quantity, expires]));
  fill(
    "trust",
    status.key_class === "sim"
      ? el("p", {}, el("span", { class: "mark warn" }, "simulated"), " This device is simulated, and says so in every proof: its readings are not of the world.")
      : null,
    pairs([
      ["Device", el("code", {}, status.device)],
      ["Network", `${status.network}${status.kind === "test" ? " (a test network)" : ""}`],
      ["Key", `${status.key_class}: ${meaning.keys[status.key_class] ?? ""}`],
      ["Clock", clock.source ? `${known}, at most ${clock.maxerror_s < 1 ? `${Math.ceil(clock.maxerror_s * 1000)} ms` : lasting(clock.maxerror_s)} wrong` : "not synchronised: the gateway dates the readings"],
      ["Link", status.link.connected ? `connected (${status.link.protocol})` : `not connected${status.link.problem ? `: ${status.link.problem}` : ""}`],
      ...status.instruments.map((i) => [i.name, `${i.model || "not opened yet"}${i.serial ? `, ${i.serial.slice(0, 16)}` : ""}; ${calibration(certificates.filter(([name]) => name === i.name), status.now_s)}`]),
    ]),
  );
}

function calibration(certificates, nowS) {
  if (!certificates.length) return "no calibration certificate";
  return certificates
    .map(([, quantity, expires]) => {
      if (expires === null) return `${quantity} calibrated, without an end`;
      return expires < nowS ? `${quantity}: calibration EXPIRED on ${day(expires)}` : `${quantity} calibrated until ${day(expires)}`;
    })
    .join("; ");
}

const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
const pairs = (rows) => el("dl", { class: "pairs" }, rows.filter(Boolean).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

function showLog(entries) {
  if (!entries.length) return fill("log", el("p", { class: "quiet" }, "Nothing worth telling."));
  return fill("log", el("ul", { class: "log" }, entries.slice(0, 20).map(entry)));
}

function entry({ at_s: at, until_s: until, clock_sure: clockSure, sentence: said, detail, count }) {
  const when = [timeOf(at, SHORT)];
  if (until === null) when.push(" until now");
  else if (until !== undefined) when.push(" to ", timeOf(until, SHORT));
  if (!clockSure) when.push(" (by a clock that was not sure)");
  if (count > 1) when.push(`, ${count} times`);
  return el("li", {}, el("span", { class: "quiet small number" }, when), el("br"), said, detail ? el("span", { class: "quiet" }, ` ${detail}`) : null);
}

function showCounts({ reconnected, reopened, restarted, rebooted, power_cuts: cuts }) {
  fill(
    "counts",
    `Since the start: connected again ${sure(reconnected, "time")}, opened an instrument again ${sure(reopened, "time")}. Restarted ${sure(restarted, "time")}, rebooted ${sure(rebooted, "time")}, power cuts ${cuts}.`,
  );
}

/* Evidence */

const local = (seconds) => {
  const d = new Date(seconds * 1000);
  return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};

function offerEvidence(nowS) {
  const since = document.getElementById("since");
  const until = document.getElementById("until");
  if (!since.value) since.value = local(nowS - 86_400);
  if (!until.value) until.value = local(nowS + 60);
}

document.getElementById("evidence").addEventListener("submit", (event) => {
  event.preventDefault();
  const seconds = (id) => Math.max(0, Math.floor(new Date(document.getElementById(id).value).getTime() / 1000));
  location.assign(`/evidence?since=${seconds("since")}&until=${seconds("until")}`);
});

new Watch("/api/status", {
  patienceMs: PATIENCE_MS,
  onSilence: showSilence,
  onAnswer(status) {
    meaning = status.words;
    showState(status);
    showNow(status);
    showStore(status);
    showTrust(status);
    showCounts(status.recovery);
    offerEvidence(status.now_s);
    considerHistory(status);
  },
});

function watchList(path, id, show, everyMs) {
  new Watch(path, {
    everyMs,
    onSilence: (sinceMs) => fill(`${id}-old`, old(sinceMs === null ? "The store has not answered yet." : `This is of ${moment(sinceMs / 1000)}: no newer answer came.`)),
    onAnswer(list) {
      fill(`${id}-old`);
      show(list);
    },
  });
}

watchList("/api/proofs", "proofs", showProofs);
watchList("/api/log", "log", showLog, 10_000);
