// The whole network: /api/overview, again and again.

import { el, fill, timeOf, Watch } from "/static/shared.js";
import { ago, bytes, coded, count, deviceLink, flags, mark, meaning, pairs, plural, proofLink, short, silence, STATES,
  state, table, words } from "/gateway.js";

const find = document.getElementById("find");

function show(found) {
  document.body.classList.remove("silent");
  document.title = `${found.network}, Fieldproof gateway`;
  document.getElementById("title").textContent = `Network ${found.network}`;
  fill("as-of", found.kind === "live" ? "A live network. " : "A test network. ", "As of ", timeOf(found.at_s), ".");
  fill("state", ...headline(found));
  fill("facts", facts(found));
  fill("devices", devices(found));
  fill("quality", quality(found));
  fill("refused", refused(found));
  fill("said", said(found));
  fill("pairs", equivocations(found));
}

function headline({ conditions, joined, states }) {
  if (conditions.length) {
    const bad = conditions.some((condition) => condition.severity === "error");
    return state(bad ? "bad" : "warn", conditions.length > 1 ? `${conditions.length} things need you` : "One thing needs you",
      conditions.map(({ sentence, remedy }) => [sentence, remedy]));
  }
  if (!joined) return state("good", "The gateway listens; no device has joined yet");
  return state("good", `The gateway listens; ${states.delivering} of ${joined} devices deliver`);
}

const facts = (found) =>
  pairs([
    ["Devices", Object.entries(STATES).filter(([name]) => found.states[name]).map(([name, [word]]) => `${count(found.states[name])} ${word}`).join(", ") || "none yet"],
    ["Proofs accepted", count(found.totals.proofs)],
    ["Readings in them", count(found.totals.readings)],
    ["Waiting", found.totals.held ? `${plural(found.totals.held, "proof")} for an earlier one` : "nothing"],
    ["Last beacon", ago(found.last_beacon_s, found.at_s)],
    ["Last commit", ago(found.last_commit_s, found.at_s)],
    ["Ledger", bytes(found.ledger_bytes)],
    ["Gateway", el("code", {}, found.gateway)],
  ]);

function devices(found) {
  const rows = found.devices.map((line) => [
    [deviceLink(line.device, line.owner), el("div", { class: "id" }, short(line.device))],
    mark(line.state),
    ago(line.received_s, found.at_s),
    count(line.head_seq),
    count(line.readings),
    line.held ? count(line.held) : "–",
    line.keys > 1 ? String(line.keys) : "first",
    timeOf(line.enrolled_s, { withSeconds: false }),
  ]);
  const left = found.found - found.devices.length;
  const caption = left > 0 ? `${count(found.found)} found; the first ${rows.length} are shown: search to see others.`
    : find.value ? `${count(found.found)} of ${count(found.joined)} devices.` : "Those that need you first.";
  return table(caption,
    [["Device"], ["State"], ["Last receipt"], ["Head", "number"], ["Readings", "number"], ["Waiting", "number wide"], ["Key", "wide"], ["Enrolled", "wide"]],
    rows, find.value ? "No device with this owner or id." : coded("No device has joined yet: `fieldproof-gateway claim new` makes a claim for one."));
}

function quality(found) {
  const rows = found.quality.map((line) => [
    deviceLink(line.device, found.owners[line.device]), line.instrument, count(line.readings), flags(line),
  ]);
  const since = found.counted_from_s === null ? "" : ` Counted since ${new Date(found.counted_from_s * 1000).toISOString().slice(0, 10)}.`;
  const shown = found.instruments > rows.length ? ` The worst ${rows.length} of ${count(found.instruments)}.` : "";
  return table(`Readings accepted in the last seven days, and those that bore a flag.${since}${shown}`,
    [["Device"], ["Instrument"], ["Readings", "number"], ["Flagged"]], rows, "No reading was accepted in the last seven days.");
}

const TAKEN = new Set(["accepted", "duplicate", "held", "enrolled", "membership_again"]);

const byCount = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1]);

const reasons = (counts, found, caption, empty) =>
  table(caption, [["Reason"], ["Times", "number"], ["Meaning"]],
    byCount(counts).map(([code, number]) => [words(code), count(number), meaning(code, found.reasons)]), empty);

const refused = (found) =>
  reasons(Object.fromEntries(Object.entries(found.messages).filter(([code]) => !TAKEN.has(code))), found,
    "Strangers' messages, too; counted with each beacon.", "None.");

const said = (found) => reasons(found.verdicts, found, "Refusals and remarks since the ledger began.", "Nothing.");

const equivocations = (found) =>
  table("Both are signed: whoever has the device's key can check them.",
    [["Device"], ["Number", "number"], ["Log"], ["Signed proofs"]],
    found.pairs.map(({ device, log, seq, proofs }) => [
      deviceLink(device, found.owners[device]), count(seq), el("code", {}, log),
      proofs.map(({ hash, received_s }) => el("div", {}, proofLink(device, hash), ", came ", timeOf(received_s))),
    ]), "No device ever signed two.");

const watch = new Watch("/api/overview", { onAnswer: show, onSilence: (...why) => silence(fill, ...why) });
find.addEventListener("input", () => {
  watch.path = `/api/overview?find=${encodeURIComponent(find.value)}`;
  watch.ask();
});
document.getElementById("search").addEventListener("submit", (event) => event.preventDefault());
