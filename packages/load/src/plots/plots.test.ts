import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  amountText,
  bytesText,
  changeText,
  mebibytesText,
  msText,
  secondsText,
  shareText,
} from "./amounts.ts";
import { barPlot } from "./bar-plot.ts";
import { linePlot } from "./line-plot.ts";
import { escapeHtml, tableMarkup } from "./markup.ts";
import { amountAxis, niceTop, timeAxis } from "./ticks.ts";

const series = (values: readonly (number | null)[]) => ({ label: "one", values });
const plotOf = (values: readonly (number | null)[], more = {}) =>
  linePlot({
    title: "A plot",
    axis: amountAxis(
      "At",
      values.map((_, at) => at),
    ),
    series: [{ ...series(values), ...more }],
    valueText: amountText,
  });
const lineOf = (markup: string): string => /class="line s0" d="([^"]*)"/.exec(markup)?.[1] ?? "";

describe("a plot of lines", () => {
  it("has a point for each value, from the bottom to a round top", () => {
    expect(lineOf(plotOf([0, 10, 20]))).toBe("M0 240L500 120L1000 0");
  });

  it("leaves a gap where nobody looked, and goes on where nothing happened", () => {
    const values = [20, null, 20];
    expect(lineOf(plotOf(values))).toBe("M0 0M1000 0");
    expect(lineOf(plotOf(values, { isBridged: true }))).toBe("M0 0L1000 0");
  });

  it("says so where there is nothing to draw", () => {
    expect(plotOf([])).toContain("Nothing was measured.");
    expect(plotOf([null])).toContain("Nothing was measured.");
  });

  it("draws eight lines, and has all in its table", () => {
    const markup = linePlot({
      title: "A plot",
      axis: amountAxis("At", [0, 1]),
      series: Array.from({ length: 10 }, (_, at) => ({ label: `line ${at}`, values: [at, at] })),
      valueText: amountText,
    });
    expect(markup.match(/class="line /g)).toHaveLength(8);
    expect(markup).toContain("2 more in the table.");
    expect(markup).toContain('<th scope="col">line 9</th>');
  });

  it("stays inside its picture, whatever the values are", () => {
    const values = fc.array(fc.option(fc.double({ min: 0, max: 1e12, noNaN: true })), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(values, (values) => {
        for (const [, x, y] of lineOf(plotOf(values)).matchAll(/[ML](\S+) ([^ML]+)/g)) {
          expect(Number(x)).toBeGreaterThanOrEqual(0);
          expect(Number(x)).toBeLessThanOrEqual(1_000);
          expect(Number(y)).toBeGreaterThanOrEqual(0);
          expect(Number(y)).toBeLessThanOrEqual(240);
        }
      }),
    );
  });
});

describe("a plot of bars", () => {
  it("puts parts behind each other, and leaves out what was not measured", () => {
    const markup = barPlot({
      title: "Bars",
      of: "Bar",
      parts: ["a", "b", "c"],
      bars: [
        { label: "long", values: [30, null, 70] },
        { label: "unknown", values: [null, null, null] },
      ],
      valueText: amountText,
    });
    expect(
      [...markup.matchAll(/<rect class="(s\d)" x="(\d+)" y="0" width="(\d+)"/g)].map(
        ([, ...all]) => all,
      ),
    ).toEqual([
      ["s0", "0", "300"],
      ["s2", "300", "700"],
    ]);
    expect(markup).toContain("<b>100</b>");
    expect(markup).toContain("<b>–</b>");
  });
});

describe("axes", () => {
  it("have few texts, at numbers that people count in, and inside", () => {
    expect(timeAxis([0, 30, 628]).ticks).toEqual([0, 300, 600]);
    expect(amountAxis("Level", [1, 2, 4, 8, 16]).ticks).toEqual([1, 2, 4, 8, 16]);
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (last) => {
        for (const { ticks } of [timeAxis([0, last]), amountAxis("x", [0, last / 2, last])]) {
          expect(ticks.length).toBeLessThanOrEqual(6);
          expect(ticks.every((one) => one >= 0 && one <= last)).toBe(true);
        }
      }),
    );
    expect([0, 0.3, 1, 7, 95, 1_001].map(niceTop)).toEqual([1, 0.4, 1, 8, 100, 2_000]);
  });
});

describe("texts", () => {
  it("are short, and say when they do not know", () => {
    expect([0, 0.01234, 1.234, 12.34, 1_234.5, null].map(amountText)).toEqual([
      "0",
      "0.0123",
      "1.23",
      "12.3",
      "1235",
      "–",
    ]);
    expect([850, 45_200, null].map(msText)).toEqual(["850 ms", "45.2 s", "–"]);
    expect([42, 200, 7_500, null].map(secondsText)).toEqual(["42 s", "3:20 min", "2:05 h", "–"]);
    expect([0, 0.00054, 0.25].map(secondsText)).toEqual(["0 s", "0.54 ms", "250 ms"]);
    expect([512, 24_564, null].map(mebibytesText)).toEqual(["512 MiB", "24 GiB", "–"]);
    expect([shareText(0.981), shareText(null), changeText(0.123), changeText(-0.2)]).toEqual([
      "98.1 %",
      "–",
      "+12.3 %",
      "-20 %",
    ]);
    expect([0, 2_048, 5e12].map(bytesText)).toEqual(["0 B", "2 KiB", "4.55 TiB"]);
  });

  it("mean nothing but themselves, and have an end", () => {
    expect(escapeHtml(`<a href="x">'&`)).toBe("&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    expect(escapeHtml("x".repeat(3_000))).toHaveLength(2_001);
    const markup = tableMarkup({ heads: ["<i>"], rows: [["<b>"]] }, '"');
    expect(markup).not.toMatch(/<[ib]>/);
  });
});
