import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { foldHistory } from "./history.ts";
import {
  readResults,
  readStarts,
  recordLine,
  type ResultRecord,
  type StartRecord,
} from "./record.ts";

const AT = "2026-01-02T03:04:05.678Z";
const start = (index: number, attempt = 1): StartRecord => ({
  index,
  attempt,
  promptId: `p${index}-${attempt}`,
  startedAt: AT,
});
const result = (index: number, over: Partial<ResultRecord> = {}): ResultRecord => ({
  index,
  name: `exp_${index}`,
  title: "castle_wide",
  attempt: 1,
  promptId: "p",
  seed: 7,
  values: { steps: 20 },
  status: "completed",
  startedAt: AT,
  endedAt: AT,
  durationMs: 1_234.5,
  error: null,
  recovery: [],
  outputs: [{ stored: "images/exp_0000.png", sha256: "a".repeat(64), sizeBytes: 12 }],
  metrics: { vram_peak_mb: 7_000 },
  ...over,
});
const failed = (index: number, isInfrastructure: boolean, attempt = 1): ResultRecord =>
  result(index, {
    status: "failed",
    attempt,
    error: { class: "connection", message: "refused", isInfrastructure },
  });

describe("a file of records", () => {
  test("gives back what was written, members of later versions too", () => {
    const records = [result(0), { ...result(1), rating: 5 }, failed(2, true)];
    const file = readResults(records.map((one) => recordLine(one)).join(""));
    expect(file).toEqual({ records, damaged: [], tail: { kind: "whole" } });
    expect(readStarts(recordLine(start(3))).records).toEqual([start(3)]);
    expect(readResults("")).toEqual({ records: [], damaged: [], tail: { kind: "whole" } });
  });

  test("says where a run failed; a record that does not yet is read as well", () => {
    const place = {
      nodeId: "5",
      nodeType: "MaskToImage",
      exceptionType: "RuntimeError",
      traceback: '  File "nodes_mask.py", line 110, in mask_to_image',
    };
    const told = failed(1, false);
    const error = { class: "workflow_error", message: "m", isInfrastructure: false, ...place };
    const records = [failed(0, false), { ...told, error }];
    const file = readResults(records.map((one) => recordLine(one)).join(""));
    expect(file).toEqual({ records, damaged: [], tail: { kind: "whole" } });
  });

  test("has a record however long it is: a run that is told damaged would be done twice", () => {
    // A dimension that sets a hundred inputs to a text of the greatest length.
    const set = Array.from({ length: 110 }, (_, at) => ({
      nodeId: `${at}`,
      value: "x".repeat(10_000),
    }));
    const records = [{ ...result(0), set }, result(1)];
    expect(readResults(records.map((one) => recordLine(one)).join("")).records).toEqual(records);
  });

  test("torn anywhere loses the torn line alone, and says where to cut", () => {
    const records = [result(0, { title: "Zoë 🏰" }), result(1), failed(2, true)];
    const text = records.map((one) => recordLine(one)).join("");
    fc.assert(
      fc.property(fc.nat(text.length), (cut) => {
        const left = text.slice(0, cut);
        const { records: read, tail, damaged } = readResults(left);
        expect(damaged).toEqual([]);
        const whole = left.split("\n").length - 1;
        expect(read).toEqual(records.slice(0, whole + (tail.kind === "unended" ? 1 : 0)));
        // What is added then is read again, and nothing else is lost.
        const kept = tail.kind === "torn" ? left.slice(0, tail.soundLength) : left;
        const mended = tail.kind === "unended" ? `${kept}\n` : kept;
        expect(readResults(mended + recordLine(result(9)))).toEqual({
          records: [...read, result(9)],
          damaged: [],
          tail: { kind: "whole" },
        });
      }),
    );
  });

  test("that ends in what a lost block leaves is torn there", () => {
    const text = recordLine(result(0));
    expect(readResults(`${text}\0\0\0`).tail).toEqual({ kind: "torn", soundLength: text.length });
    expect(readResults(`${text}  `).tail).toEqual({ kind: "torn", soundLength: text.length });
  });

  test("says which whole lines are no records", () => {
    const text = `${recordLine(result(0))}nothing\n\n{"index": -1}\n${recordLine(result(1))}`;
    const file = readResults(text);
    expect(file.records.map(({ index }) => index)).toEqual([0, 1]);
    expect(file.damaged).toEqual([
      { line: 2, message: "expected one JSON object, found something else" },
      { line: 4, message: 'expected a record, found something else at "index"' },
    ]);
  });
});

describe("a history", () => {
  test("knows what ended, what has to be repeated and what was interrupted", () => {
    const history = foldHistory(
      [start(0), start(1), start(2), start(3), start(3, 2), start(4), start(4, 2)],
      [
        result(0),
        failed(1, false),
        failed(2, true),
        failed(3, true),
        failed(4, true),
        result(4, { attempt: 2 }),
      ],
    );
    expect(history).toMatchObject({ completed: 2, failed: 1, toRepeat: [2] });
    expect(history.interrupted).toEqual([start(3, 2)]);
    expect([0, 1, 2, 3, 4, 5].map((index) => history.isEnded(index))).toEqual([
      true,
      true,
      false,
      false,
      true,
      false,
    ]);
    expect([1, 4].map((index) => history.isCompleted(index))).toEqual([false, true]);
    expect([0, 3, 9].map((index) => history.startsOf(index))).toEqual([1, 2, 0]);
  });

  test("is the same in whatever order its records come, and twice", () => {
    const starts = [start(0), start(1), start(1, 2), start(2), start(2, 2), start(2, 3)];
    const results = [
      result(0),
      failed(1, true),
      failed(1, false, 2),
      failed(2, true),
      failed(2, true, 2),
      result(3),
      failed(3, true, 2),
    ];
    const told = (history: ReturnType<typeof foldHistory>) => ({
      ...history,
      ended: [0, 1, 2, 3].map((index) => history.isEnded(index)),
      starts: [0, 1, 2, 3].map((index) => history.startsOf(index)),
      isEnded: null,
      isCompleted: null,
      startsOf: null,
    });
    const wanted = told(foldHistory(starts, results));
    expect(wanted).toMatchObject({ completed: 2, failed: 1, toRepeat: [] });
    expect(wanted.interrupted).toEqual([start(2, 3)]);
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...starts, ...starts], { minLength: 12 }),
        fc.shuffledSubarray([...results, ...results], { minLength: 14 }),
        (someStarts, someResults) => {
          expect(told(foldHistory(someStarts, someResults))).toEqual(wanted);
        },
      ),
    );
  });
});
