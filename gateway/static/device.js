// One device: /api/device, again and again.

import { el, fill, timeOf, Watch } from "/static/shared.js";
import { ago, bytes, coded, count, explained, flags, pairs, plural, proofLink, silence, state, table, words } from "/gateway.js";

const id = new URLSearchParams(location.search).get("device") ?? "";

const SAID = {
  suspended: ["bad", "Suspended: it signed two proofs for one number", "Compare the refused proofs below; then `fieldproof-gateway restore` or `revoke` it."],
  two_boards: ["bad", "Two boards sign with its key, or an old card ran", "Ask the owner to switch the other off; if he knows of none, the key may be stolen: `fieldproof-gateway revoke`."],
  silent: ["warn", "Silent", "Ask the owner to run `fieldproof-agent status`."],
  never_heard: ["warn", "It joined, and was never heard", "Ask the owner to run `fieldproof-agent status`."],
  delivering: ["good", "It delivers", ""],
  revoked: ["", "Revoked: nothing it sends counts", "`fieldproof-gateway restore` lifts that."],
};

function show(found) {
  const line = found.device;
  document.body.classList.remove("silent");
  document.title = `${line.owner || id}, Fieldproof gateway`;
  document.getElementById("title").textContent = line.owner || "Device without a named owner";
  fill("id", el("code", {}, line.device));
  fill("as-of", "As of ", timeOf(found.at_s), ".");
  const [kind, headline, remedy] = SAID[found.state];
  fill("state", ...state(kind, headline, line.received_s === null
    ? [["No proof was accepted yet.", remedy]]
    : [[el("span", {}, "The newest accepted proof came ", ago(line.received_s, found.at_s), "."), remedy]]));
  fill("facts", facts(found));
  fill("days", days(found.days));
  fill("quality", instruments(found));
  fill("verdicts", ...verdicts(found));
  fill("refused", refused(found));
  fill("logs", logs(found));
  fill("keys", keys(found));
  fill("gaps", gaps(found));
  fill("challenges", challenges(found));
  fill("bundle", `fieldproof-gateway evidence ${id} --dir DIR -o evidence.cbor`);
}

const facts = ({ device: line, key_class, simulated, software, counts }) =>
  pairs([
    ["Enrolled", timeOf(line.enrolled_s)],
    ["Head", `proof ${count(line.head_seq)}`],
    ["Accepted", `${plural(line.proofs, "proof")} with ${plural(line.readings, "reading")}`],
    ["Waiting", line.held ? `${plural(line.held, "proof")} for an earlier one` : "nothing"],
    ["Key", `number ${line.keys}, kept in: ${key_class}`],
    ["Software", software],
    simulated ? ["Kind", el("span", { class: "mark warn" }, "simulated")] : null,
    line.two_boards_s !== null ? ["Two boards", "last seen ", timeOf(line.two_boards_s)] : null,
  ]);

const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

function days(found) {
  const most = Math.max(1, ...found.map(({ readings }) => readings));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${found.length * 10} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Readings on each of ${found.length} days, at most ${count(most)}; the table says them.`);
  found.forEach(({ readings }, at) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = readings ? Math.max(1.5, (100 * readings) / most) : 0;
    for (const [name, value] of Object.entries({ x: at * 10 + 1, width: 8, y: 100 - height, height })) bar.setAttribute(name, value);
    svg.append(bar);
  });
  const open = document.querySelector("#days details")?.open ?? false;
  return el("div", {},
    el("p", { class: "quiet small" }, `By the day on which they came (UTC); the highest column is ${count(most)} readings.`),
    el("div", { class: "columns" }, svg),
    el("div", { class: "ends quiet small" }, el("span", {}, day(found[0].start_s)), el("span", {}, day(found.at(-1).start_s))),
    el("details", { open },
      el("summary", {}, "As a table"),
      table("Newest first.", [["Day"], ["Proofs", "number"], ["Readings", "number"]],
        found.toReversed().map(({ start_s, proofs, readings }) => [day(start_s), count(proofs), count(readings)]), "")),
  );
}

function instruments({ instruments, quality }) {
  const known = new Map(instruments.map((one) => [one.name, one]));
  const counted = new Map(quality.map((line) => [line.instrument, line]));
  const names = [...new Set([...known.keys(), ...counted.keys()])];
  return table("Of the newest descriptor, and the readings accepted in the last seven days.",
    [["Instrument"], ["What it is"], ["Calibrated"], ["Readings", "number"], ["Flagged"]],
    names.map((name) => {
      const one = known.get(name);
      const line = counted.get(name);
      return [
        name,
        one ? [`${one.model} on ${one.bus}`, el("div", { class: "quiet small" }, one.serial)] : "not in its newest descriptor",
        one ? (one.calibrated ? "by a certificate" : "no") : "–",
        line ? count(line.readings) : "0",
        line ? flags(line) : "none",
      ];
    }), "The device has no instruments.");
}

const inAll = (verdicts) =>
  Object.entries(verdicts).sort((a, b) => b[1] - a[1]).map(([code, times]) => `${words(code)} ${count(times)}`).join(", ");

const verdicts = (found) => [
  el("p", {}, `Since it joined: ${inAll(found.device.verdicts) || "none"}.`),
  table("As they stand in the device's receipts; a new log begins with none.",
    [["Reason"], ["Proof", "number"], ["When"], ["Meaning"]],
    found.verdicts.map(({ code, seq, at_s, sentence, remedy, detail }) => [
      words(code), count(seq), at_s === null ? "–" : timeOf(at_s),
      explained({ sentence, remedy }, detail),
    ]), "None stands in its receipts now."),
];

const refused = (found) =>
  table(`${count(found.device.evidence)} kept, as they were signed.`,
    [["Proof"], ["Reason"], ["Number", "number"], ["Log"], ["Came"], ["Size", "number"]],
    found.refused.map(({ hash, code, seq, log, received_s, bytes: size }) => [
      proofLink(found.device.device, hash), [words(code), el("div", { class: "quiet small" }, found.reasons[code]?.sentence ?? "")],
      count(seq), el("code", {}, log), timeOf(received_s), bytes(size),
    ]), "None.");

const of = (shown, all, word) => (all > shown ? `The newest ${shown} of ${plural(all, word)}.` : `${plural(all, word)}.`);

const logs = ({ logs: found, counts }) =>
  table(of(found.length, counts.log, "log"),
    [["Log"], ["Began"], ["Newest proof", "number"], ["Why"]],
    found.map(({ log, began_s, head, reason, follows }) => [
      el("code", {}, log), timeOf(began_s), count(head),
      follows ? [`${reason}; follows `, el("code", {}, follows)] : "its first",
    ]), "None: no first proof of a log was accepted yet.");

const keys = ({ keys: found }) =>
  table("Newest first.", [["Key id"], ["Number", "number"], ["Since"]],
    found.map(({ number, key_id, log, seq, at_s, in_force }) => [
      [el("code", {}, key_id), " ", in_force ? el("span", { class: "mark good" }, "in force") : null],
      String(number + 1), log ? [`proof ${count(seq)} of `, el("code", {}, log), at_s === null ? null : [", ", timeOf(at_s)]].flat() : "enrolment",
    ]), "None.");

const gaps = ({ gaps: found, counts }) =>
  table(of(found.length, counts.gap, "gap"), [["Proofs"], ["Log"], ["Why"]],
    found.map(({ first_seq, last_seq, log, reason }) => [
      first_seq === last_seq ? count(first_seq) : `${count(first_seq)} to ${count(last_seq)}`, el("code", {}, log), reason,
    ]), "None.");

const challenges = ({ challenges: found, counts, at_s }) =>
  table(of(found.length, counts.challenge, "challenge"), [["Sent"], ["Answered"]],
    found.map(({ sent_s, deadline_s, round_trip_s }) => [
      sent_s === null ? "not yet" : timeOf(sent_s),
      round_trip_s !== null ? `after ${round_trip_s.toFixed(1)} s${round_trip_s > deadline_s ? ", too late" : ""}`
        : sent_s !== null && at_s - sent_s > deadline_s ? "no" : "not yet",
    ]), coded("None was sent: `fieldproof-gateway challenge` asks for a proof now."));

new Watch(`/api/device?device=${encodeURIComponent(id)}`, { onAnswer: show, onSilence: (...why) => silence(fill, ...why) });
