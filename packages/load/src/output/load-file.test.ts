import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sampleArb } from "../../testing/sample-arbitrary.ts";
import { jobSample, summaryOf } from "../../testing/sample-summary.ts";
import type { JobSample } from "../sample/job-sample.ts";
import { loadFileText, sampleLine } from "./load-file.ts";
import { gpuMetricsLine, jobMetricsLine } from "./metrics-line.ts";
import { readLoadFile } from "./read-load-file.ts";

async function textOf(samples: readonly JobSample[]): Promise<string> {
  const { summary, timeline } = summaryOf(samples);
  let text = "";
  for await (const piece of loadFileText(summary, timeline, samples.map(sampleLine))) text += piece;
  return text;
}

async function readAgain(text: string, ending = "\n") {
  const samples: JobSample[] = [];
  const lines = text.split("\n").map((line) => (ending === "\r\n" ? `${line}\r` : line));
  const reading = await readLoadFile(lines, (one) => samples.push(one));
  return { reading, samples };
}

async function problemsOf(text: string): Promise<string> {
  const { reading } = await readAgain(text);
  return reading.kind === "invalid" ? reading.problems.join("\n") : "none";
}

const three = [0, 1, 2].map((index) => jobSample({ index, begunMs: index * 10 }));
const withLine = (text: string, at: number, change: (line: string) => string): string =>
  text
    .split("\n")
    .map((line, n) => (n + 1 === at ? change(line) : line))
    .join("\n");

describe("the file of a run", () => {
  it("is JSON with a summary, and comes back line by line as it was", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(sampleArb, { maxLength: 40 }), async (samples) => {
        const text = await textOf(samples);
        const { summary, timeline } = summaryOf(samples);
        const json = JSON.parse(text) as { summary: unknown; samples: unknown[] };
        expect(json.summary).toEqual(summary);
        expect(json.samples).toHaveLength(samples.length);
        for (const ending of ["\n", "\r\n"]) {
          const again = await readAgain(text, ending);
          expect(again.reading).toEqual({ kind: "ok", summary, timeline, samples: samples.length });
          expect(again.samples).toEqual(samples);
        }
      }),
    );
  });

  it("has one line a sample", async () => {
    const lines = (await textOf(three)).split("\n");
    expect(lines).toHaveLength(4 + 3 + 2);
    expect(lines[4]).toBe(
      '[0,"small",1,0,0,10,20,null,900,1000,"completed",null,0,false,2,100,false],',
    );
  });

  it("is written in pieces, however many samples there are", async () => {
    const { summary, timeline } = summaryOf(three);
    const many = Array.from({ length: 5_000 }, (_, index) => sampleLine(jobSample({ index })));
    const pieces: string[] = [];
    for await (const piece of loadFileText(summary, timeline, many)) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(4);
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(66_000);
    expect((await readAgain(pieces.join(""))).samples).toHaveLength(5_000);
  });

  it("is never taken for whole when it was cut anywhere", async () => {
    const text = (await textOf(three)).trimEnd();
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), async (length) => {
        expect((await readAgain(text.slice(0, length))).reading.kind).toBe("invalid");
      }),
    );
  });

  it("says what is wrong, and where", async () => {
    const text = await textOf(three);
    const lines = text.split("\n");
    expect(await readLoadFile([], () => undefined)).toEqual({
      kind: "invalid",
      problems: ["line 1: the file is empty: expected the file of a load run"],
    });
    expect(await problemsOf("")).toContain(
      "line 1: expected the lines that `holdfast load` writes",
    );
    expect(await problemsOf(lines.slice(0, 6).join("\n"))).toBe(
      "line 7: the file ends in the middle: the run, or a copy of the file, was cut off",
    );
    expect(await problemsOf(JSON.stringify(JSON.parse(text), null, 2))).toContain("laid out anew");
    expect(await problemsOf(JSON.stringify(JSON.parse(text)))).toContain("laid out anew");
    expect(
      await problemsOf(withLine(text, 1, (line) => line.replace('"version":1', '"version":2'))),
    ).toContain("version: expected 1, found 2");
    expect(
      await problemsOf(withLine(text, 1, (line) => line.replace('"seed":1', '"seed":"x"'))),
    ).toBe("line 1: summary.plan.seed: expected what `holdfast load` writes there");
    expect(await problemsOf(withLine(text, 3, (line) => line.replace('"endedMs",', "")))).toBe(
      "line 3: columns: expected also endedMs",
    );
    expect(await problemsOf(withLine(text, 5, (line) => line.replace("completed", "done")))).toBe(
      'line 5: outcome: expected one of completed, failed, timed_out, cancelled, refused, found "done"',
    );
    expect(await problemsOf(withLine(text, 5, (line) => line.replace(",900,", ",1,")))).toBe(
      "line 5: executedMs: expected 20 or later, found 1",
    );
    expect(await problemsOf(withLine(text, 5, (line) => line.slice(0, -1)))).toContain(
      "line 6: expected the end of the samples, or a comma",
    );
    expect(await problemsOf(withLine(text, 7, (line) => `${line},`))).toContain(
      "expected another sample after the comma",
    );
    expect(await problemsOf(`${text}{}`)).toContain("expected nothing after the end");
  });

  it("tells no more problems than a person reads", async () => {
    const many = Array.from({ length: 100 }, () => jobSample());
    const { reading } = await readAgain((await textOf(many)).replaceAll('"small",1', '"small",-1'));
    expect(reading.kind === "invalid" && reading.problems).toHaveLength(20);
  });

  it("may have columns that nobody knows, in another order", async () => {
    const [head = "", timeline = "", ...rest] = (await textOf([jobSample()])).split("\n");
    const columns = JSON.parse(`{${(rest[0] ?? "").slice(0, -1)}}`) as { columns: string[] };
    const row = JSON.parse(rest[2] ?? "") as unknown[];
    const text = [
      head,
      timeline,
      `"columns":${JSON.stringify(["colour", ...columns.columns.reverse()])},`,
      '"samples":[',
      JSON.stringify(["green", ...row.reverse()]),
      "]}",
    ].join("\n");
    expect((await readAgain(text)).samples).toEqual([jobSample()]);
  });
});

describe("lines of the metrics file", () => {
  const startedAt = Date.parse("2026-11-28T12:00:00Z");

  it("have a job with its phases at the instant of its end", () => {
    const line = jobMetricsLine(startedAt, jobSample({ endedMs: 1_500 }));
    expect(line.endsWith("}\n")).toBe(true);
    expect(JSON.parse(line)).toMatchObject({
      at: "2026-11-28T12:00:01.500Z",
      run: "2026-11-28T12:00:00.000Z",
      type: "job",
      workflow: "small",
      outcome: "completed",
      phasesMs: { queue: 10, model_load: null, total: 1_500 },
    });
  });

  it("have a look at a card", () => {
    const look = { atMs: 250, gpu: 1, utilisationPercent: null, memoryUsedMb: 900 };
    expect(JSON.parse(gpuMetricsLine(startedAt, { ...look, source: "system_stats" }))).toEqual({
      at: "2026-11-28T12:00:00.250Z",
      run: "2026-11-28T12:00:00.000Z",
      type: "gpu",
      gpu: 1,
      utilisationPercent: null,
      memoryUsedMb: 900,
      source: "system_stats",
    });
  });
});
