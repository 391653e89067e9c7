/** Bars beside each other, each of parts, as rows of a table: the plot and its numbers are one. */
import { escapeHtml, NOT_KNOWN, tableBehind } from "./markup.ts";

/** One bar. */
export interface Bar {
  readonly label: string;
  /** In the order of `parts`; null was not measured, and takes no room. */
  readonly values: readonly (number | null)[];
  /** What stands behind the bar; the sum of its parts unless given. */
  readonly text?: string;
}

/** A plot of bars. */
export interface BarPlot {
  readonly title: string;
  readonly note?: string;
  /** What the bars are, over their names: `Workflow`. */
  readonly of: string;
  readonly parts: readonly string[];
  readonly bars: readonly Bar[];
  readonly valueText: (value: number) => string;
}

/** Most bars that are drawn; the table has all of them. */
export const BARS_MAX = 40;
const WIDTH = 1_000;
const HEIGHT = 20;

/** The markup of a plot; in words where there is nothing to draw. */
export function barPlot(plot: BarPlot): string {
  const { title, note, parts, bars, valueText } = plot;
  const drawn = bars.slice(0, BARS_MAX);
  const longest = Math.max(0, ...drawn.map(sumOf));
  const head = `<figure class="plot"><figcaption><h3>${escapeHtml(title)}</h3>${note === undefined ? "" : `<p class="quiet">${escapeHtml(note)}</p>`}</figcaption>`;
  if (longest === 0) return `${head}<p class="quiet">Nothing was measured.</p></figure>`;
  const legend = parts.map((part, at) => `<li><i class="s${at}"></i>${escapeHtml(part)}</li>`);
  const rows = drawn.map((bar) => {
    const text =
      bar.text ?? (bar.values.every((one) => one === null) ? NOT_KNOWN : valueText(sumOf(bar)));
    return `<div class="bar"><span>${escapeHtml(bar.label)}</span>${barMarkup(bar, plot, longest)}<b>${escapeHtml(text)}</b></div>`;
  });
  const more = bars.length - drawn.length;
  const table = {
    heads: [plot.of, ...parts],
    rows: bars.map(({ label, values }) => [
      label,
      ...parts.map((_, at) => {
        const value = values[at] ?? null;
        return value === null ? NOT_KNOWN : valueText(value);
      }),
    ]),
  };
  return `${head}
${parts.length > 1 ? `<ul class="legend quiet">${legend.join("")}</ul>` : ""}
<div class="bars">${rows.join("\n")}</div>
${more > 0 ? `<p class="quiet">${more} more in the table.</p>` : ""}
${tableBehind(table, title)}
</figure>`;
}

function barMarkup(bar: Bar, { parts, valueText }: BarPlot, longest: number): string {
  let from = 0;
  const boxes = parts.map((part, at) => {
    const value = bar.values[at] ?? null;
    if (value === null || value <= 0) return "";
    const width = (value / longest) * WIDTH;
    const box = `<rect class="s${at}" x="${digits(from)}" y="0" width="${digits(width)}" height="${HEIGHT}"><title>${escapeHtml(`${part}: ${valueText(value)}`)}</title></rect>`;
    from += width;
    return box;
  });
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">${boxes.join("")}</svg>`;
}

function sumOf({ values }: Bar): number {
  return values.reduce<number>((all, value) => all + Math.max(0, value ?? 0), 0);
}

function digits(value: number): string {
  return String(Math.round(value * 10) / 10);
}
