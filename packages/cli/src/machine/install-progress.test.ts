import type { InstallEvent, StepProgress } from "@holdfast/machine";
import { describe, expect, it } from "vitest";
import type { Terminal } from "../terminal/terminal.ts";
import { resultLines, watchInstall } from "./install-progress.ts";

function screen(isInteractive: boolean): {
  readonly terminal: Terminal;
  readonly notes: string[];
  readonly bars: string[];
} {
  const notes: string[] = [];
  const bars: string[] = [];
  const terminal: Terminal = {
    line: (text) => void notes.push(text),
    note: (text) => void notes.push(text),
    progress: (text) => void bars.push(text),
    isInteractive,
    columns: 80,
    resultColumns: 80,
  };
  return { terminal, notes, bars };
}

const progress = (at: number, done: number, detail: string | null = null): InstallEvent => ({
  kind: "step.progress",
  at,
  id: "a",
  progress: { done, total: 200, unit: "bytes", detail } satisfies StepProgress,
});
const started: InstallEvent = { kind: "step.started", at: 0, id: "a", title: "Packages" };
const result = {
  id: "a",
  title: "Packages",
  isOptional: false,
  outcome: "done",
  startedAt: 0,
  durationMs: 1_500,
  detail: "before: not all are installed",
  advice: null,
} as const;

describe("an installation as it goes", () => {
  it("is a bar where somebody watches a screen", () => {
    const { terminal, notes, bars } = screen(true);
    const watch = watchInstall(terminal);
    for (const event of [started, progress(0, 0), progress(40_000, 50, "torch")]) watch(event);
    expect(notes).toEqual([]);
    expect(bars).toEqual(["Packages", "Packages 0 % of 200 B", "Packages 25 % of 200 B (torch)"]);
  });

  it("is a line each half minute where nobody does", () => {
    const { terminal, notes } = screen(false);
    const watch = watchInstall(terminal);
    watch(started);
    for (const at of [0, 10_000, 29_999, 30_000, 45_000, 61_000]) watch(progress(at, at / 1_000));
    expect(notes).toEqual(["...  Packages: 15 % of 200 B", "...  Packages: 30 % of 200 B"]);
  });

  it("says what was done, without why it was needed", () => {
    expect(resultLines(result)).toEqual(["done Packages (1.5 s)"]);
    expect(resultLines({ ...result, outcome: "skipped" })).toEqual([]);
  });

  it("says why something failed, and what to do", () => {
    const failed = {
      ...result,
      outcome: "failed",
      detail: "no space",
      advice: "Free some.",
    } as const;
    expect(resultLines({ ...failed, isOptional: true })).toEqual([
      "FAIL Packages (optional): no space (1.5 s)",
      "     Free some.",
    ]);
    expect(resultLines({ ...result, outcome: "not_reached", detail: 'waits for "x"' })).toEqual([
      '-    Packages: waits for "x"',
    ]);
  });
});
