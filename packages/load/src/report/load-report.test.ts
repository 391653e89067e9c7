import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { steppedComparison, steppedRun } from "../../testing/report-facts.ts";
import { sampleArb } from "../../testing/sample-arbitrary.ts";
import { jobSample, summaryOf } from "../../testing/sample-summary.ts";
import { harnessDoubts } from "./harness-trust.ts";
import { loadReportHtml } from "./load-report.ts";

const whole = steppedRun(1.2);
const headings = (page: string): string[] =>
  [...page.matchAll(/<h2[^>]*>([^<]*)<\/h2>/g)].map(([, text]) => text ?? "");
const policyOf = (page: string): string =>
  (/Content-Security-Policy" content="([^"]+)"/.exec(page)?.[1] ?? "").replaceAll("&#39;", "'");

describe("the report of a load run", () => {
  it("is one file that runs nothing, asks for nothing, and knows its style", () => {
    const page = loadReportHtml(whole);
    const style = /<style>([^]*?)<\/style>/.exec(page)?.[1] ?? "";
    const hash = createHash("sha256").update(style).digest("base64");
    expect(policyOf(page).split("; ")).toEqual([
      "default-src 'none'",
      `style-src 'sha256-${hash}'`,
      "img-src data:",
      "base-uri 'none'",
      "form-action 'none'",
    ]);
    expect(page).not.toMatch(/<script|<iframe|<form|(?:src|href)="(?!data:)| (?:style|on[a-z]+)="/);
    expect(style).not.toMatch(/url\(|@import/);
    expect(style).toContain("prefers-color-scheme: dark");
  });

  it("tells all of a run", () => {
    const page = loadReportHtml({ ...whole, comparison: steppedComparison(1.2) });
    expect(headings(page)).toEqual([
      "Key figures",
      "Service level",
      "Against the run before",
      "Over time",
      "Latency by phase",
      "By workflow",
      "By level",
      "Errors",
      "Cards",
      "Recovery",
      "The harness itself",
      "What was run",
    ]);
    expect(page).toContain("Throughput flattens at level 8");
    expect(page).toContain("CUDA out of memory. Tried to allocate 2.50 GiB");
    expect(page).toContain("step:1,2,4,8,16@120s");
    // Each plot has its table.
    const figures = page.match(/<figure/g)?.length;
    expect(page.match(/<details>/g)).toHaveLength(figures ?? 0);
  });

  it("leaves out what nobody asked for", () => {
    const { summary, timeline } = summaryOf([jobSample()]);
    const page = loadReportHtml({ summary, timeline });
    expect(headings(page)).not.toContain("Service level");
    expect(headings(page)).not.toContain("Against the run before");
    expect(headings(page)).not.toContain("By level");
  });

  it("says that runs were not compared, and in what they differ", () => {
    const page = loadReportHtml({
      ...whole,
      comparison: { kind: "refused", differences: ["pace: closed:1 before, closed:2 now"] },
    });
    expect(page).toContain("Not compared with the run before");
    expect(page).toContain("<li>pace: closed:1 before, closed:2 now</li>");
  });

  it("makes no zero of what was not measured", () => {
    const { summary, timeline } = summaryOf([]);
    const page = loadReportHtml({ summary, timeline });
    expect(page).toContain("<dt>Latency p95</dt><dd>–</dd>");
    expect(page).toContain("<dt>Success rate</dt><dd>–</dd>");
    expect(page).toContain("0 of 0 jobs completed.");
    expect(page).toContain("Nothing told of any card.");
    expect(page).toContain("No job was left after warm-up");
    expect(page).not.toMatch(/NaN|Infinity|undefined|null/);
  });

  it("stays the same page whatever its texts hold", () => {
    const hostile = `</title></style><script>alert(1)</script><img src=x onerror="alert(1)">'`;
    const { summary, timeline } = summaryOf([jobSample({ workflow: hostile })], {
      target: { kind: "comfyui", url: hostile, version: hostile },
      scenario: hostile,
      plan: {
        pace: hostile,
        seed: 1,
        workflows: [{ name: hostile, hash: hostile, weight: 1 }],
        warmUp: { jobs: 0, forMs: 0 },
      },
    });
    const errors = [{ class: hostile, count: 1, example: hostile }];
    const page = loadReportHtml({
      summary: { ...summary, errors },
      timeline,
      comparison: { kind: "refused", differences: [hostile] },
    });
    expect(page).not.toMatch(/<script|<img|<\/style>(?!\n<\/head>)/);
    expect(page.match(/<title>/g)).toHaveLength(
      1 + (page.match(/<rect[^>]*><title>/g)?.length ?? 0),
    );
  });

  it("is a page of any run's samples", () => {
    fc.assert(
      fc.property(fc.array(sampleArb, { maxLength: 20 }), (samples) => {
        const page = loadReportHtml(summaryOf(samples));
        expect(page.replace(/<style>[^]*<\/style>/, "")).not.toMatch(/NaN|Infinity|undefined/);
        const open = page.match(/<(?:div|section|figure|table|svg|details)\b/g)?.length;
        expect(page.match(/<\/(?:div|section|figure|table|svg|details)>/g)).toHaveLength(open ?? 0);
      }),
      { numRuns: 50 },
    );
  });

  it("is short enough to be sent, however long the run was and however many cards there were", () => {
    const bucket = { begun: 100, completed: 98, failed: 2, outputs: 980, inFlight: 16 };
    const gpu = Array.from({ length: 8 }, (_, at) => ({
      gpu: at,
      utilisationPercent: 98.123456789,
      memoryMb: 23_456.789,
    }));
    const buckets = Array.from({ length: 600 }, (_, at) => ({
      ...bucket,
      fromSeconds: at * 128,
      p50Ms: 1_234.567 + at,
      p95Ms: 45_678.901 + at,
      gpu,
    }));
    const page = loadReportHtml({ ...whole, timeline: { bucketSeconds: 128, buckets } });
    expect(page.length).toBeLessThan(1_000_000);
  });
});

describe("doubts about the harness", () => {
  const { summary } = whole;
  it("has none where it kept up", () => {
    expect(harnessDoubts(summary)).toEqual([]);
    expect(harnessDoubts(summaryOf([]).summary)).toEqual([]);
  });

  it("tells a late harness, a busy loop and jobs that were never sent", () => {
    const harness = { lateP99Ms: 5_000, eventLoopP99Ms: 900 };
    const jobs = { ...summary.jobs, neverBegun: 3 };
    expect(harnessDoubts({ ...summary, harness, jobs })).toEqual([
      expect.stringContaining("5000 ms or more after it was due"),
      expect.stringContaining("held up 900 ms"),
      expect.stringContaining("3 jobs were due and never sent"),
    ]);
  });

  it("measures lateness by the latencies: what changes no conclusion is no doubt", () => {
    const harness = { lateP99Ms: 100, eventLoopP99Ms: null };
    expect(harnessDoubts({ ...summary, harness })).toEqual([]);
    const quick = summaryOf([jobSample({ endedMs: 200 })]).summary;
    expect(harnessDoubts({ ...quick, harness })).toHaveLength(1);
  });
});
