import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import {
  EVIDENCE_FIELD_MAX,
  EVIDENCE_JSON_MAX,
  EVIDENCE_MESSAGE_MAX,
  EVIDENCE_TRACEBACK_LINE_MAX,
  EVIDENCE_TRACEBACK_LINES_MAX,
  limitEvidence,
  type FailureEvidence,
} from "./evidence.ts";

const base: FailureEvidence = { channel: "execution", message: "boom" };

describe("limiting evidence", () => {
  it("leaves small evidence as it is", () => {
    const evidence = { ...base, traceback: ["a"], nodeErrors: { "1": {} }, exceptionType: "E" };
    expect(limitEvidence(evidence)).toEqual(evidence);
  });

  it("keeps head and tail of a long message and says so", () => {
    const message = `head ${"x".repeat(EVIDENCE_MESSAGE_MAX * 2)} tail`;
    const limited = limitEvidence({ ...base, message });
    expect(limited.message.length).toBe(EVIDENCE_MESSAGE_MAX);
    expect(limited.message.startsWith("head")).toBe(true);
    expect(limited.message.endsWith("tail")).toBe(true);
    expect(limited.truncated).toEqual(["message"]);
  });

  it("keeps the last lines of a long traceback, each cut to its limit", () => {
    const lines = Array.from({ length: EVIDENCE_TRACEBACK_LINES_MAX + 5 }, (_, at) => `line ${at}`);
    const limited = limitEvidence({ ...base, traceback: lines });
    expect(limited.traceback).toHaveLength(EVIDENCE_TRACEBACK_LINES_MAX);
    expect(limited.traceback?.at(-1)).toBe(lines.at(-1));
    const long = limitEvidence({ ...base, traceback: ["y".repeat(5_000)] });
    expect(long.traceback?.[0]).toHaveLength(EVIDENCE_TRACEBACK_LINE_MAX);
    expect(long.truncated).toEqual(["traceback"]);
  });

  it("cuts short fields and drops what is too large or no JSON, remembering earlier cuts", () => {
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    const limited = limitEvidence({
      ...base,
      exceptionType: "E".repeat(600),
      nodeErrors: "z".repeat(EVIDENCE_JSON_MAX),
      extra: cycle,
      truncated: ["message"],
    });
    expect(limited.exceptionType).toHaveLength(EVIDENCE_FIELD_MAX);
    expect(limited).not.toHaveProperty("nodeErrors");
    expect(limited).not.toHaveProperty("extra");
    expect(limited.truncated).toEqual(["exceptionType", "extra", "message", "nodeErrors"]);
  });

  it("drops what JSON has no word for", () => {
    expect(limitEvidence({ ...base, nodeErrors: () => 1 }).truncated).toEqual(["nodeErrors"]);
  });

  it("changes nothing the second time", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.array(fc.string()),
        fc.jsonValue(),
        (message, traceback, json) => {
          const once = limitEvidence({ ...base, message, traceback, nodeErrors: json });
          expect(limitEvidence(once)).toEqual(once);
        },
      ),
    );
  });
});
