/* Helpers of the pages.
 * - What others wrote (names, problems, reasons) becomes text nodes, never markup: `el` knows no other way.
 * - `Watch` asks again and again, and says when nothing was heard: what a page shows is true now, or said to be old.
 */

/** An element: `el("p", {class: "quiet"}, "text", child …)`. A string becomes text; null is left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with this id now holds `children`, nothing else. What did not change is left alone, so that a
 *  reader's place, a selection and a screen reader are not disturbed. */
export function fill(id, ...children) {
  const node = document.getElementById(id);
  const next = el("div", {}, ...children);
  if (node.innerHTML !== next.innerHTML) node.replaceChildren(...next.childNodes);
  return node;
}

/** Asks `path` for JSON every `everyMs`; `onAnswer(value)`, and `onSilence(sinceMs | null, problem)` once nothing
 *  was heard for `patienceMs`: `sinceMs` is when the last answer came, `problem` a refusal in the server's words. */
export class Watch {
  constructor(path, { everyMs = 5000, patienceMs = 15000, onAnswer, onSilence = () => {} }) {
    Object.assign(this, { path, everyMs, patienceMs, onAnswer, onSilence });
    this.heardMs = null;
    this.problem = "";
    this.startedMs = Date.now();
    this.timer = null;
    setInterval(() => this.look(), 1000);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      this.look();
      this.ask();
    });
    this.ask();
  }

  look() {
    if (Date.now() - (this.heardMs ?? this.startedMs) > this.patienceMs) this.onSilence(this.heardMs, this.problem);
  }

  async ask() {
    clearTimeout(this.timer);
    this.problem = "";
    try {
      const answer = await fetch(this.path, { cache: "no-store", signal: AbortSignal.timeout(this.patienceMs) });
      if (!answer.ok) throw new Error((this.problem = (await answer.text()).trim()));
      const value = await answer.json();
      this.heardMs = Date.now();
      this.onAnswer(value);
    } catch (error) {
      if (this.heardMs === null) this.onSilence(null, this.problem);
      console.warn(`${this.path}: ${error.message}`);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), this.everyMs);
  }
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** 75 -> "75 seconds", 5400 -> "90 minutes", 200000 -> "2.3 days". */
export function lasting(seconds) {
  const s = Math.max(0, seconds);
  if (s < 120) return plural(Math.round(s), "second");
  if (s < 7200) return plural(Math.round(s / 60), "minute");
  if (s < 172800) return plural(Math.round(s / 3600), "hour");
  return `${(s / 86400).toFixed(1)} days`;
}

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const pad = (number) => String(number).padStart(2, "0");

/** A moment in the reader's time zone: "20 Nov 18:40:05"; only the time of day when it is today, and the year
 *  when it is another. */
export function moment(seconds, { withSeconds = true } = {}) {
  const [d, today] = [new Date(seconds * 1000), new Date()];
  const time = `${pad(d.getHours())}:${pad(d.getMinutes())}${withSeconds ? ":" + pad(d.getSeconds()) : ""}`;
  if (d.toDateString() === today.toDateString()) return time;
  const year = d.getFullYear() === today.getFullYear() ? "" : ` ${d.getFullYear()}`;
  return `${d.getDate()} ${MONTHS[d.getMonth()]}${year} ${time}`;
}

/** A moment as an element that says it in full to machines and on hover. */
export function timeOf(seconds, options) {
  const iso = new Date(seconds * 1000).toISOString();
  return el("time", { datetime: iso, title: iso }, moment(seconds, options));
}

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  if (count < 1e6) return `${(count / 1e3).toFixed(0)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(1)} MB`;
  return `${(count / 1e9).toFixed(2)} GB`;
}

const UNITS = { Cel: "°C", "%RH": "% RH", Pa: "Pa", "ug/m3": "µg/m³", "1/min": "per minute", "": "" };

/** How people write a SenML unit. */
export const unit = (name) => UNITS[name] ?? name;
