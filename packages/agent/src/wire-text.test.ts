import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { executionEvidence, toEvidence } from "./evidence.ts";
import { outputNameOf } from "./output-name.ts";
import { released } from "./outcome.ts";
import { cleanDeep, cutMiddle, cutText, cutToEnd } from "./wire-text.ts";

/** What PostgreSQL holds, in a text as well as in JSON. */
function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}
function textsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => [key, ...textsIn(item)]);
}
/** Any UTF-16, rich in what cannot be stored. */
const units = fc.oneof(
  fc.constantFrom("\0", "\ud83d", "\ude00", "😀", "a", "/home/x/y.py"),
  fc.string(),
);
const texts = fc.array(units, { maxLength: 60 }).map((parts) => parts.join(""));

describe("a text on its way to the control plane", () => {
  it("is clean and short enough however it is cut", () => {
    fc.assert(
      fc.property(texts, fc.integer({ min: 40, max: 80 }), (text, limit) => {
        for (const cut of [cutText(text, limit), cutToEnd(text, limit), cutMiddle(text, limit)]) {
          expect(cut.length).toBeLessThanOrEqual(limit);
          expect(isStorable(cut)).toBe(true);
        }
      }),
    );
  });

  it("keeps what was clean and short as it was", () => {
    expect(cutText("a 😀", 4)).toBe("a 😀");
    expect(cutText("a 😀", 3)).toBe("a ");
    expect(cutToEnd("😀 a", 3)).toBe(" a");
  });

  it("is clean in every corner of the evidence", () => {
    fc.assert(
      fc.property(texts, (text) => {
        const long = `${"x".repeat(498)}${text}`;
        const evidence = executionEvidence(
          {
            ...toError(long),
            traceback: [`${"y".repeat(1_999)}${text}`, text],
          },
          {},
        );
        const other = toEvidence("validation", text.repeat(3_000), {
          nodeErrors: { [text]: { errors: [{ extra_info: { [text]: [text] } }] } },
        });
        for (const part of textsIn([evidence, other])) expect(isStorable(part)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it("is clean in names and reasons", () => {
    fc.assert(
      fc.property(texts, (text) => {
        const file = { filename: text, subfolder: text.repeat(30), key: "images", type: "output" };
        const name = outputNameOf(file, "att_1");
        expect(isStorable(name) && name.length <= 512).toBe(true);
        for (const part of textsIn(released(`${"x".repeat(199)}${text}`))) {
          expect(isStorable(part)).toBe(true);
        }
      }),
    );
  });

  it("does not follow a value to any depth", () => {
    let deep: unknown = "bottom";
    for (let n = 0; n < 20_000; n += 1) deep = [deep];
    expect(JSON.stringify(cleanDeep(deep)).length).toBeLessThan(200);
    expect(toEvidence("execution", "deep", { extra: deep }).message).toBe("deep");
  });
});

function toError(text: string) {
  return {
    promptId: "p",
    nodeId: text,
    nodeType: text,
    exceptionType: text,
    exceptionMessage: text,
    executedNodes: [],
    currentInputs: undefined,
    at: undefined,
  };
}
