// What both pages of the gateway share. Whatever devices and owners wrote goes through `el`, which makes text of it.

import { bytes, el, lasting, timeOf } from "/static/shared.js";

/** How a device is: [word, class of the mark]. */
export const STATES = {
  suspended: ["suspended", "bad"],
  two_boards: ["on two boards", "bad"],
  silent: ["silent", "warn"],
  never_heard: ["never heard", "warn"],
  delivering: ["delivering", "good"],
  revoked: ["revoked", "quiet"],
};

export const mark = (state) => el("span", { class: `mark ${STATES[state][1]}` }, STATES[state][0]);

const part = (device) => device.replace(/^did:key:/, "");

/** z6MkjchhfUsD6mm… : enough to tell devices apart; the whole id is on the device's page. */
export const short = (device) => `${part(device).slice(0, 14)}…`;

export const deviceLink = (device, owner) =>
  el("a", { href: `/device.html?device=${encodeURIComponent(part(device))}` }, owner || short(device));

export const count = (number) => number.toLocaleString("en");

/** "12 minutes ago", and when it was. */
export const ago = (seconds, atS) =>
  seconds === null
    ? "never"
    : el("time", { datetime: new Date(seconds * 1000).toISOString(), title: new Date(seconds * 1000).toISOString() },
        `${lasting(atS - seconds)} ago`);

/** A table whose rows become cards on a phone. `heads`: [title, class]; a row is a list of cells' contents. */
export function table(caption, heads, rows, empty) {
  if (!rows.length) return el("p", { class: "quiet" }, empty);
  const cell = (content, at) =>
    el(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, "data-label": heads[at][0], class: heads[at][1] },
      el("span", {}, content));
  return el("table", { class: "rows" },
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map(([title, kind]) => el("th", { scope: "col", class: kind }, title)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
  );
}

export const pairs = (facts) =>
  el("dl", { class: "pairs" }, facts.filter(Boolean).flatMap(([name, ...value]) => [el("dt", {}, name), el("dd", {}, ...value)]));

/** "clamped 12 %" for each flag of an instrument, the most frequent first. */
export function flags({ flags, readings }) {
  const found = Object.entries(flags).sort((a, b) => b[1] - a[1]);
  if (!found.length) return "none";
  return found.map(([code, number]) => {
    const share = (100 * number) / Math.max(1, readings);
    const said = share < 0.1 ? "under 0.1 %" : `${share.toFixed(share < 10 ? 1 : 0)} %`;
    return el("div", {}, `${words(code)}: ${count(number)}, ${said}`);
  });
}

export const words = (code) => code.replace(/^quality_/, "").replaceAll("_", " ");

/** What stands between backticks in a sentence is a command. */
export const coded = (text) => text.split("`").map((piece, at) => (at % 2 ? el("code", {}, piece) : piece));

const remedyLine = (text) => el("div", { class: "quiet small" }, coded(text));

/** A reason's sentence, a detail, and what to do. */
export const explained = ({ sentence, remedy }, detail = "") =>
  [...coded(sentence), detail ? ` (${detail})` : null, remedyLine(remedy)];

export const meaning = (code, reasons) => (reasons[code] ? explained(reasons[code]) : "");

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

export const proofLink = (device, hash) =>
  el("a", { href: `/refused?device=${encodeURIComponent(part(device))}&hash=${hash}`, download: true },
    `proof ${hash.slice(0, 8)}`);

/** The headline and what stands under it; `kind` is good, warn or bad. */
export function state(kind, headline, lines = []) {
  document.getElementById("state").className = `card state ${kind}`;
  return [
    el("h2", {}, headline),
    lines.length
      ? el("ul", {}, lines.map(([sentence, remedy]) => el("li", {}, typeof sentence === "string" ? coded(sentence) : sentence, el("div", { class: "quiet" }, coded(remedy)))))
      : null,
  ];
}

/** Nobody answers, or only to say why not: what stands on the page is old. */
export function silence(fill, sinceMs, problem) {
  document.body.classList.add("silent");
  const since = sinceMs ? [" What stands below is from ", timeOf(sinceMs / 1000), "."] : [];
  const lines = problem
    ? [[el("span", {}, ...coded(problem), ...since), ""]]
    : [[el("span", {}, ...since), "Is `fieldproof-gateway page` running?"]];
  fill("state", ...state("bad", problem ? "The page cannot show this" : "The page's own program does not answer", lines));
}

export { bytes };
