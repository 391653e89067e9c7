import { readFileSync } from "node:fs";

import { describe, expect, it } from "vitest";

import { classify } from "./classify.ts";
import { isErrorClass } from "./error-class.ts";
import type { EvidenceChannel } from "./evidence.ts";

// Messages that libraries, drivers and systems are known to print, written down without the rules in
// view; none is a line of the labelled sample. Class, channel and message, parted by tabs.
const WORDINGS = readFileSync(new URL("../fixtures/wordings.tsv", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => line.split("\t"));

describe("other wordings", () => {
  it("are told right in 98 of 100 cases", () => {
    const wrong = WORDINGS.flatMap(([wanted = "", channel = "", message = ""]) => {
      expect(isErrorClass(wanted)).toBe(true);
      const given = classify({ channel: channel as EvidenceChannel, message });
      return given.class === wanted ? [] : [`${wanted} ≠ ${given.class}: ${message}`];
    });
    expect(WORDINGS.length).toBeGreaterThan(200);
    const allowed = Math.floor(WORDINGS.length * 0.02);
    // Compared as text, so that a failure shows the messages that were told wrong.
    expect(wrong.slice(allowed)).toEqual([]);
  });
});
