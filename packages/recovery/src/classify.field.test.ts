import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { classify } from "./classify.ts";
import { isErrorClass } from "./error-class.ts";
import type { EvidenceChannel } from "./evidence.ts";

interface FieldLine {
  readonly id: string;
  readonly channel: string;
  readonly exception_type: string | null;
  readonly message: string;
  readonly node_type: string | null;
  readonly http_status: number | null;
  readonly label: string;
  readonly accept: readonly string[];
  readonly source: string;
}

const LINES = readFileSync(new URL("../fixtures/errors/field.ndjson", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as FieldLine);

const CHANNELS: Readonly<Record<string, EvidenceChannel>> = {
  execution_error: "execution",
  prompt_400: "validation",
};

describe("lines from the field", () => {
  it("are told right in 99 of 100 cases, with them in view", () => {
    const wrong = LINES.flatMap((line) => {
      const { class: given } = classify({
        channel: CHANNELS[line.channel] ?? (line.channel as EvidenceChannel),
        exceptionType: line.exception_type,
        message: line.message,
        nodeType: line.node_type,
        httpStatus: line.http_status,
      });
      const isRight = given === line.label || line.accept.includes(given);
      return isRight ? [] : [`${line.id} ${line.label} ≠ ${given}: ${line.message}`];
    });
    expect(LINES.length).toBe(707);
    // Compared as text, so that a failure shows the messages that were told wrong.
    expect(wrong.slice(Math.floor(LINES.length * 0.01))).toEqual([]);
  });

  it("have ids of their own, known labels, and a source", () => {
    expect(new Set(LINES.map((line) => line.id)).size).toBe(LINES.length);
    const poor = LINES.filter(
      ({ label, accept, source }) =>
        source === "" || ![label, ...accept].every((name) => isErrorClass(name)),
    );
    expect(poor).toEqual([]);
  });
});
