/**
 * Lines over a common axis as SVG, written on the server: no script, so no request, nothing to wait for,
 * and it prints. The picture is stretched to the width there is; texts stand beside it as HTML, or they
 * would be too small to read on a phone.
 */
import { escapeHtml, NOT_KNOWN, tableBehind } from "./markup.ts";
import { niceTop, type PlotAxis } from "./ticks.ts";

/** One line. */
export interface PlotSeries {
  readonly label: string;
  /** One a point of the axis; null leaves a gap. */
  readonly values: readonly (number | null)[];
  /** Goes on over gaps: nothing happened there, which is not the same as nobody looked. */
  readonly isBridged?: boolean;
}

/** A plot of lines. */
export interface LinePlot {
  readonly title: string;
  /** What the reader should know beside; text. */
  readonly note?: string;
  readonly axis: PlotAxis;
  readonly series: readonly PlotSeries[];
  readonly valueText: (value: number) => string;
  /** The axis reaches at least here: 100 for percent. */
  readonly topMin?: number;
  /** Places on the axis that mean something, with what they mean. */
  readonly marks?: readonly { readonly at: number; readonly label: string }[];
}

/** Most lines of a plot: a reader tells no more colours apart. The table has all of them. */
export const SERIES_MAX = 8;
const WIDTH = 1_000;
const HEIGHT = 240;
/** Strips that tell their values under a pointer; more would be narrower than one. */
const STRIPS_MAX = 120;
const PERCENT = 100;
/** Percent of the width within which a text would leave the picture. */
const EDGE = 5;
/** With fewer points each has a dot of its own. */
const DOTTED_MAX = 60;
const TICKS = [1, 0.75, 0.5, 0.25, 0] as const;

/** The markup of a plot; in words where there is nothing to draw. */
export function linePlot(plot: LinePlot): string {
  const { title, note, axis, series } = plot;
  const drawn = series.slice(0, SERIES_MAX);
  const known = drawn.flatMap(({ values }) => values.filter((value) => value !== null));
  const head = `<figure class="plot"><figcaption><h3>${escapeHtml(title)}</h3>${noteMarkup(note)}</figcaption>`;
  if (axis.values.length === 0 || known.length === 0) {
    return `${head}<p class="quiet">Nothing was measured.</p></figure>`;
  }
  const more = series.length - drawn.length;
  return `${head}
${legendMarkup(drawn, plot.marks ?? [])}
${more > 0 ? `<p class="quiet">${more} more in the table.</p>` : ""}
${pictureMarkup(plot, drawn, niceTop(Math.max(...known, plot.topMin ?? 0)))}
${tableBehind(tableOf(plot), title)}
</figure>`;
}

function noteMarkup(note: string | undefined): string {
  return note === undefined ? "" : `<p class="quiet">${escapeHtml(note)}</p>`;
}

function legendMarkup(
  series: readonly PlotSeries[],
  marks: NonNullable<LinePlot["marks"]>,
): string {
  const lines = series.map(
    ({ label }, at) => `<li><i class="s${at}"></i>${escapeHtml(label)}</li>`,
  );
  const told = marks.map(({ label }) => `<li><i class="mark"></i>${escapeHtml(label)}</li>`);
  return `<ul class="legend quiet">${[...lines, ...told].join("")}</ul>`;
}

function pictureMarkup(plot: LinePlot, series: readonly PlotSeries[], top: number): string {
  const { axis, title, valueText } = plot;
  const [first, last] = [axis.values[0] ?? 0, axis.values.at(-1) ?? 0];
  const x = (value: number): number =>
    last === first ? WIDTH / 2 : ((value - first) / (last - first)) * WIDTH;
  const y = (value: number): number => HEIGHT - (Math.max(0, value) / top) * HEIGHT;
  const grid = TICKS.map((share) => `M0 ${y(share * top)}H${WIDTH}`).join("");
  const marks = (plot.marks ?? []).map(({ at }) => `M${digits(x(at))} 0V${HEIGHT}`).join("");
  const lines = series.map((one, at) => linesMarkup(axis.values, one, at, x, y));
  const below = axis.ticks.map((value) => {
    const share = (x(value) / WIDTH) * PERCENT;
    const anchor = share < EDGE ? "start" : share > PERCENT - EDGE ? "end" : "middle";
    return `<text x="${digits(share)}%" y="1em" text-anchor="${anchor}">${escapeHtml(axis.text(value))}</text>`;
  });
  return `<div class="picture">
<div class="ups" aria-hidden="true">${TICKS.map((share) => `<span>${escapeHtml(valueText(share * top))}</span>`).join("")}</div>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${escapeHtml(`${title}: a plot; its table follows`)}">
<path class="grid" d="${grid}"/>
${marks === "" ? "" : `<path class="mark" d="${marks}"/>`}
${lines.join("\n")}
${stripsMarkup(plot, series, x)}
</svg>
<svg class="along" aria-hidden="true">${below.join("")}</svg>
</div>`;
}

function linesMarkup(
  axis: readonly number[],
  { values, isBridged }: PlotSeries,
  series: number,
  x: (value: number) => number,
  y: (value: number) => number,
): string {
  const points = axis.map((at, index) => ({ at, value: values[index] ?? null }));
  const isKnown = (index: number): boolean => (points[index]?.value ?? null) !== null;
  const line: string[] = [];
  const dots: string[] = [];
  for (const [index, { at, value }] of points.entries()) {
    if (value === null) continue;
    const place = `${digits(x(at))} ${digits(y(value))}`;
    const isOn = isBridged === true ? line.length > 0 : isKnown(index - 1);
    line.push(`${isOn ? "L" : "M"}${place}`);
    const isAlone = isBridged !== true && !isKnown(index - 1) && !isKnown(index + 1);
    // A line of no length with round ends is a dot, and stays round when the picture is stretched.
    if (isAlone || points.length <= DOTTED_MAX) dots.push(`M${place}h.01`);
  }
  const dotted = dots.length === 0 ? "" : `<path class="dots s${series}" d="${dots.join("")}"/>`;
  return `<path class="line s${series}" d="${line.join("")}"/>${dotted}`;
}

/** What a pointer finds: the values of the points in a strip of the picture. */
function stripsMarkup(
  { axis, valueText }: LinePlot,
  series: readonly PlotSeries[],
  x: (value: number) => number,
): string {
  const every = Math.max(1, Math.ceil(axis.values.length / STRIPS_MAX));
  const kept = axis.values
    .map((at, index) => ({ at, index }))
    .filter(({ index }) => index % every === 0);
  return kept
    .map(({ at, index }, place) => {
      const before = kept[place - 1];
      const after = kept[place + 1];
      const from = before === undefined ? 0 : (x(before.at) + x(at)) / 2;
      const until = after === undefined ? WIDTH : (x(at) + x(after.at)) / 2;
      const told = series.map(({ label, values }) => {
        const value = values[index] ?? null;
        return `${label}: ${value === null ? NOT_KNOWN : valueText(value)}`;
      });
      const text = escapeHtml([axis.text(at), ...told].join("\n"));
      return `<rect class="strip" x="${digits(from)}" y="0" width="${digits(Math.max(0, until - from))}" height="${HEIGHT}"><title>${text}</title></rect>`;
    })
    .join("");
}

function tableOf({ axis, series, valueText }: LinePlot): {
  readonly heads: readonly string[];
  readonly rows: readonly (readonly string[])[];
} {
  return {
    heads: [axis.label, ...series.map(({ label }) => label)],
    rows: axis.values.map((at, index) => [
      axis.text(at),
      ...series.map(({ values }) => {
        const value = values[index] ?? null;
        return value === null ? NOT_KNOWN : valueText(value);
      }),
    ]),
  };
}

function digits(value: number): string {
  return String(Math.round(value * 10) / 10);
}
