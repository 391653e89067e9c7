import { createHash, type Hash } from "node:crypto";
import type { Timeline } from "./timeline.ts";

/** What happened in a simulation, line by line: two runs of one seed give the same. */
export interface Trace {
  /** One line: who, what kind of thing, what, and how it came out. */
  note(who: string, kind: string, what: string, outcome: string): void;
  /** A hash of all lines so far. */
  digest(): string;
  lines(): number;
  /** The last lines, the oldest first. */
  tail(): readonly string[];
}

/** Lines that are kept for a person to read. */
const KEPT = 4_000;

/** Makes an empty trace. `onLine` sees every line as it comes. */
export function createTrace(timeline: Timeline, onLine?: (line: string) => void): Trace {
  const hash: Hash = createHash("sha256");
  const kept: string[] = [];
  let count = 0;
  return {
    note(who, kind, what, outcome) {
      const at = (timeline.now() / 1000).toFixed(4);
      const line = `${at} ${who} ${kind} ${what}${outcome === "" ? "" : ` → ${outcome}`}`;
      hash.update(line).update("\n");
      count += 1;
      kept.push(line);
      if (kept.length > KEPT * 2) kept.splice(0, KEPT);
      onLine?.(line);
    },
    digest: () => hash.copy().digest("hex"),
    lines: () => count,
    tail: () => kept.slice(-KEPT),
  };
}
