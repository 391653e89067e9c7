import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  judgeAnswer,
  parseContentRange,
  planRequest,
  type AnswerFacts,
  type AnswerVerdict,
  type KeptPart,
  type PartRecord,
} from "./resume-plan.ts";

const URL = "https://host/x";
const RECORD: PartRecord = { url: URL, etag: '"1"', lastModified: "Tue", totalBytes: 100 };
const wanted = { url: URL, sizeBytes: null };

test("nothing kept, or going on forbidden, asks for the whole", () => {
  expect(planRequest({ sizeBytes: 0, record: RECORD }, wanted)).toEqual({ kind: "whole" });
  expect(planRequest({ sizeBytes: 5, record: RECORD }, wanted, true)).toEqual({ kind: "whole" });
});

test("a part is gone on from under the condition that its validators still hold", () => {
  const plan = (record: PartRecord | null) => planRequest({ sizeBytes: 5, record }, wanted);
  expect(plan(RECORD)).toEqual({ kind: "rest", from: 5, ifRange: '"1"' });
  expect(plan({ ...RECORD, etag: 'W/"1"' })).toEqual({ kind: "rest", from: 5, ifRange: "Tue" });
  expect(plan({ ...RECORD, etag: null, lastModified: null })).toMatchObject({ ifRange: null });
  expect(plan({ ...RECORD, url: "https://other/x" })).toMatchObject({ from: 5, ifRange: null });
  expect(plan(null)).toMatchObject({ from: 5, ifRange: null });
});

test("a part as long as the file is verified, a longer one begun anew", () => {
  expect(planRequest({ sizeBytes: 100, record: RECORD }, wanted)).toEqual({ kind: "verify" });
  expect(planRequest({ sizeBytes: 101, record: RECORD }, wanted)).toEqual({ kind: "whole" });
  // The manifest knows better than the server did.
  const known = { url: URL, sizeBytes: 7 };
  expect(planRequest({ sizeBytes: 7, record: RECORD }, known)).toEqual({ kind: "verify" });
});

test.each([
  ["bytes 5-9/10", { first: 5, last: 9, total: 10 }],
  ["bytes 5-9/*", { first: 5, last: 9, total: null }],
  ["BYTES  5-9/10 ", { first: 5, last: 9, total: 10 }],
  ["bytes */10", { first: null, last: null, total: 10 }],
  ["bytes */*", null],
  ["bytes 9-5/10", null],
  ["bytes 5-10/10", null],
  ["bytes 5-/10", null],
  ["items 5-9/10", null],
  ["bytes 5-99999999999999999/*", null],
  ["", null],
  [undefined, null],
])("Content-Range %j", (text, range) => {
  expect(parseContentRange(text)).toEqual(range);
});

const answer = (status: number, headers: Record<string, string> = {}): AnswerFacts => ({
  status,
  headers,
});
const REST = { kind: "rest", from: 5, ifRange: '"1"' } as const;
const PART: KeptPart = { sizeBytes: 5, record: RECORD };

function judge(facts: AnswerFacts, sizeBytes: number | null = null, part = PART): AnswerVerdict {
  return judgeAnswer(REST, facts, part, { url: URL, sizeBytes });
}

test("206 from where the part ends is appended", () => {
  const verdict = judge(answer(206, { "content-range": "bytes 5-99/100", etag: '"1"' }));
  expect(verdict).toMatchObject({ kind: "append", totalBytes: 100 });
  const open = judge(answer(206, { "content-range": "bytes 5-99/*" }));
  expect(open).toMatchObject({ kind: "append", totalBytes: 100 });
  const unknown = { sizeBytes: 5, record: null };
  expect(judge(answer(206, { "content-range": "bytes 5-99/*" }), null, unknown)).toMatchObject({
    kind: "append",
    totalBytes: null,
  });
});

test.each([
  ["another beginning", { "content-range": "bytes 4-99/100" }],
  ["no range", {}],
  ["many parts", { "content-type": "multipart/byteranges; boundary=x" }],
  ["another version", { "content-range": "bytes 5-99/100", etag: '"2"' }],
  ["another length", { "content-range": "bytes 5-98/99" }],
])("206 with %s is not joined with the part", (_, headers) => {
  expect(judge(answer(206, headers)).kind).toBe("ask_whole");
});

test("200 begins anew; with another length than is known it fails", () => {
  expect(judge(answer(200, { "content-length": "100" }))).toMatchObject({
    kind: "restart",
    totalBytes: 100,
  });
  expect(judge(answer(200), 7)).toMatchObject({ kind: "restart", totalBytes: 7 });
  expect(judge(answer(200, { "content-length": "100" }), 7)).toMatchObject({
    kind: "failed",
    failure: { kind: "wrong_size" },
  });
  const rest = answer(206, { "content-range": "bytes 5-99/100" });
  expect(judge(rest, 7)).toMatchObject({ kind: "failed", failure: { kind: "wrong_size" } });
});

test("416 verifies a part that may be complete, and begins anew otherwise", () => {
  expect(judge(answer(416, { "content-range": "bytes */5" })).kind).toBe("verify");
  expect(judge(answer(416)).kind).toBe("verify");
  expect(judge(answer(416, { "content-range": "bytes */4" })).kind).toBe("ask_whole");
  expect(judge(answer(416, { "content-range": "bytes */5" }), 7).kind).toBe("failed");
  const whole = judgeAnswer({ kind: "whole" }, answer(416), PART, wanted);
  expect(whole).toMatchObject({ kind: "failed", failure: { kind: "bad_answer" } });
});

test("an encoded body is refused, identity is not", () => {
  expect(judge(answer(200, { "content-encoding": "br" })).kind).toBe("failed");
  expect(judge(answer(200, { "content-encoding": "Identity" })).kind).toBe("restart");
});

/** A server's answer to a request, lawful or not, and the bytes of its body. */
interface Reply {
  readonly facts: AnswerFacts;
  readonly body: Buffer;
}

/** Applies requests and answers to a part in memory, as the downloader does to one on the disk. */
function play(file: Buffer, start: KeptPart & { bytes: Buffer }, replies: readonly Reply[]) {
  let { bytes, record } = start as { bytes: Buffer; record: PartRecord | null };
  let wholeOnly = false;
  for (const { facts, body } of replies) {
    const part = { sizeBytes: bytes.length, record };
    const plan = planRequest(part, wanted, wholeOnly);
    if (plan.kind === "verify") break;
    const verdict = judgeAnswer(plan, facts, part, wanted);
    if (verdict.kind === "ask_whole") wholeOnly = true;
    if (verdict.kind !== "append" && verdict.kind !== "restart") continue;
    if (verdict.kind === "restart") {
      bytes = Buffer.alloc(0);
      wholeOnly = false;
    }
    record = verdict.record;
    const room = (verdict.totalBytes ?? Infinity) - bytes.length;
    bytes = Buffer.concat([bytes, body.subarray(0, Math.max(0, room))]);
  }
  return { bytes, record, file };
}

test("whatever range a truthful server sends, what is kept is a beginning of the file", () => {
  const lawful = fc.record({
    from: fc.nat(40),
    length: fc.nat(40),
    status: fc.constantFrom(200, 206, 416),
    tellsTotal: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.nat(40),
      fc.array(lawful, { maxLength: 12 }),
      (data, kept, steps) => {
        const file = Buffer.from(data);
        const begin = file.subarray(0, Math.min(kept, file.length));
        const replies = steps.map(({ from, length, status, tellsTotal }): Reply => {
          const first = Math.min(from, file.length - 1);
          const last = Math.min(first + length, file.length - 1);
          const total = tellsTotal ? String(file.length) : "*";
          if (status === 206) {
            const facts = answer(206, { "content-range": `bytes ${first}-${last}/${total}` });
            return { facts, body: file.subarray(first, last + 1) };
          }
          if (status === 200) {
            // Its connection may break before the end.
            return { facts: answer(200), body: file.subarray(0, first) };
          }
          return {
            facts: answer(416, { "content-range": `bytes */${file.length}` }),
            body: Buffer.alloc(0),
          };
        });
        const { bytes } = play(
          file,
          { sizeBytes: begin.length, record: null, bytes: begin },
          replies,
        );
        expect(bytes.equals(file.subarray(0, bytes.length))).toBe(true);
      },
    ),
  );
});

test("a server that keeps to HTTP and breaks at random ends with the whole file", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 60 }),
      fc.array(fc.nat(60), { maxLength: 10 }),
      fc.boolean(),
      (data, cuts, knowsRanges) => {
        const file = Buffer.from(data);
        let bytes: Buffer = Buffer.alloc(0);
        let record: PartRecord | null = null;
        let received = 0;
        for (const cut of [...cuts, file.length]) {
          const part = { sizeBytes: bytes.length, record };
          const plan = planRequest(part, wanted);
          if (plan.kind === "verify") break;
          const from = plan.kind === "rest" && knowsRanges ? plan.from : 0;
          const range = `bytes ${from}-${file.length - 1}/${file.length}`;
          const facts =
            from === 0
              ? answer(200, { "content-length": String(file.length), etag: '"1"' })
              : answer(206, { "content-range": range, etag: '"1"' });
          const verdict = judgeAnswer(plan, facts, part, wanted);
          if (verdict.kind === "restart") bytes = Buffer.alloc(0);
          if (verdict.kind !== "restart" && verdict.kind !== "append")
            throw new Error(verdict.kind);
          record = verdict.record;
          const body = file.subarray(from, Math.min(file.length, from + cut));
          received += body.length;
          bytes = Buffer.concat([bytes, body]);
        }
        expect(bytes.equals(file)).toBe(true);
        if (knowsRanges) expect(received).toBe(file.length);
      },
    ),
  );
});
