/* A quantity over time, on uPlot: mean as a line, least to greatest as a band.
 * - Where nothing was measured the line is broken and the ground hatched; flagged buckets carry a triangle.
 * - What the picture shows can be had without seeing it: a slider reads out one moment after the other. */

const RATIO = 0.32;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Stretches [from, until] without a reading, between the first reading and `nowS`. */
export function gaps({ t, mean }, widthS, holeS, nowS) {
  const found = [];
  let last = null;
  for (let i = 0; i < t.length; i++) {
    if (mean[i] === null) continue;
    if (last !== null && i > last + 1) found.push([t[last] + widthS, t[i]]);
    last = i;
  }
  if (last !== null && nowS - t[last] > holeS + widthS) found.push([t[last] + widthS, nowS]);
  return found;
}

/** Neighbouring flagged buckets as one stretch: {from, until, flags}. */
export function flagged({ t, flags }, widthS) {
  const found = [];
  for (let i = 0; i < t.length; i++) {
    if (!flags[i]) continue;
    const before = found[found.length - 1];
    if (before && before.until === t[i] && before.flags === flags[i]) before.until = t[i] + widthS;
    else found.push({ from: t[i], until: t[i] + widthS, flags: flags[i] });
  }
  return found;
}

export class TimeChart {
  constructor(parent) {
    this.parent = parent;
    this.plot = null;
    this.data = null;
    new ResizeObserver(() => this.resize()).observe(parent);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** `series` has columns t, mean, min, max, flags; `gaps` are stretches without a reading. */
  show(series, { sinceS, untilS, gaps: holes, widthS }) {
    this.series = series;
    this.range = [sinceS, untilS];
    this.holes = holes;
    this.widthS = widthS;
    const middle = series.t.map((s) => s + widthS / 2);
    this.data = [middle, series.mean, series.max, series.min];
    if (this.plot) this.plot.setData(this.data);
    else this.draw();
  }

  /** The crosshair at row `index`, or none. */
  point(index) {
    if (!this.plot) return;
    const left = index === null ? -10 : this.plot.valToPos(this.data[0][index], "x");
    this.plot.setCursor({ left, top: index === null ? -10 : 10 }, false);
  }

  size() {
    const width = Math.max(200, this.parent.clientWidth);
    return { width, height: Math.round(Math.min(260, Math.max(150, width * RATIO))) };
  }

  resize() {
    if (this.plot && this.plot.width !== this.size().width) this.plot.setSize(this.size());
  }

  draw() {
    if (!this.data) return;
    this.plot?.destroy();
    const [ink, line, plot, band] = ["--quiet", "--line", "--plot", "--plot-band"].map(style);
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px sans-serif" };
    const wide = this.size().width > 500;
    this.plot = new uPlot(
      {
        ...this.size(),
        padding: [10, 6, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, y: false, points: { size: 8 } },
        scales: { x: { time: true, range: () => this.range }, y: { range: spread } },
        axes: [
          { ...axis, size: 32, space: wide ? 70 : 60, values: hours },
          { ...axis, size: 64, values: (_, marks) => marks.map(short) },
        ],
        series: [
          {},
          { stroke: plot, width: 1.75, points: { show: false }, spanGaps: false },
          { stroke: "transparent", points: { show: false }, spanGaps: false },
          { stroke: "transparent", points: { show: false }, spanGaps: false },
        ],
        bands: [{ series: [2, 3], fill: band }],
        hooks: { drawAxes: [(u) => this.hatch(u)], draw: [(u) => this.mark(u)] },
      },
      this.data,
      this.parent,
    );
  }

  hatch(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = style("--edge");
    ctx.globalAlpha = 0.45;
    ctx.lineWidth = devicePixelRatio;
    for (const [from, until] of this.holes) {
      const left = Math.max(bbox.left, u.valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, u.valToPos(until, "x", true));
      if (right <= left) continue;
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, bbox.top, right - left, bbox.height);
      ctx.clip();
      ctx.beginPath();
      for (let x = left - bbox.height; x < right; x += 7 * devicePixelRatio) {
        ctx.moveTo(x, bbox.top + bbox.height);
        ctx.lineTo(x + bbox.height, bbox.top);
      }
      ctx.stroke();
      ctx.restore();
    }
    ctx.restore();
  }

  mark(u) {
    const { ctx, bbox } = u;
    const size = 5 * devicePixelRatio;
    ctx.save();
    ctx.fillStyle = style("--warn");
    ctx.strokeStyle = style("--card");
    ctx.lineWidth = devicePixelRatio;
    this.series.flags.forEach((flags, i) => {
      if (!flags || this.series.mean[i] === null) return;
      const x = u.valToPos(this.data[0][i], "x", true);
      const y = Math.max(bbox.top + 2 * size, u.valToPos(this.series.max[i], "y", true) - size / 2);
      ctx.beginPath();
      ctx.moveTo(x, y);
      ctx.lineTo(x - size, y - 1.8 * size);
      ctx.lineTo(x + size, y - 1.8 * size);
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    });
    ctx.restore();
  }
}

/** A scale that does not make a mountain of the last digit. */
function spread(_, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = Math.max((high - low) * 0.15, Math.abs(high) * 1e-4, 1e-6);
  return [low - room, high + room];
}

const two = (number) => String(number).padStart(2, "0");

function hours(_, marks) {
  return marks.map((s) => {
    const d = new Date(s * 1000);
    if (d.getHours() || d.getMinutes()) return `${two(d.getHours())}:${two(d.getMinutes())}`;
    return `${d.getDate()} ${d.toLocaleString("en", { month: "short" })}`;
  });
}

function short(value) {
  if (value === null) return "";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(1);
  return String(+value.toPrecision(size >= 1000 ? 7 : 4));
}
