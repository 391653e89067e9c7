import { describe, expect, it } from "vitest";
import { slaRunbook, type RunbookFacts, type SlaSearch } from "./runbook.ts";
import { DEFAULT_SLA } from "./targets.ts";
import { judgeSla, NO_SLA_FACTS } from "./verdict.ts";

const SEARCH: SlaSearch = {
  books: 1,
  why: "breach",
  window: 2,
  knee: { kind: "knee", level: 1, throughputPerMinute: 12.34, firstGain: 12.34, laterGain: -1 },
  trials: [
    {
      books: 1,
      isBreached: false,
      level: 1,
      throughputPerMinute: 12.34,
      latencyP95Seconds: 9.876,
      failedPercent: 0,
      jobs: 24,
    },
    {
      books: 2,
      isBreached: true,
      level: 2,
      throughputPerMinute: 12,
      latencyP95Seconds: 61,
      failedPercent: null,
      jobs: 48,
    },
  ],
};
const facts = (more: Partial<RunbookFacts> = {}): RunbookFacts => ({
  writtenAt: "2026-11-28T12:00:00.000Z",
  target: { kind: "holdfast", url: "http://127.0.0.1:8328", version: "0.1.0" },
  workflows: [{ name: "book_small", hash: "0123456789abcdef" }],
  sla: DEFAULT_SLA,
  verdict: judgeSla(DEFAULT_SLA.targets, {
    ...NO_SLA_FACTS,
    latencyP95Seconds: { value: 61, from: 48 },
  }),
  search: SEARCH,
  ...more,
});

describe("the runbook of an SLA", () => {
  it("has the verdict, each metric with its target, and the search", () => {
    const text = slaRunbook("", facts());
    expect(text).toContain("### Verdict: breached");
    expect(text).toMatch(/\| latency p95 \| .* \| ≤ 45 s \| 61 s \(of 48\) \| breached \|/);
    expect(text).toMatch(
      /\| throughput \| .* \| ≥ 20 images\/min \| not measured \| not measured \|/,
    );
    expect(text).toContain("**1 book at a time keeps the targets**, 2 do not.");
    expect(text).toContain(
      "Throughput flattens at 1 (12.3 images/min): after it a book more brings 0",
    );
    expect(text).toContain("| 2 | 48 | 12 | 61 | – | breached |");
    expect(text).toContain("`book_small` (hash `0123456789ab`)");
  });

  it("says what was not measured, and that not even one book is rendered in time", () => {
    expect(slaRunbook("", facts({ search: null }))).toContain(
      "Not measured: `holdfast sla search`",
    );
    expect(slaRunbook("", facts({ search: { ...SEARCH, books: 0 } }))).toContain(
      "Not even one book",
    );
    expect(slaRunbook("", facts({ search: { ...SEARCH, why: "stopped" } }))).toContain(
      "was stopped",
    );
    expect(slaRunbook("", facts({ search: { ...SEARCH, why: "max" } }))).toContain(
      "more were not tried",
    );
  });

  it("has a section a target", () => {
    const url = "http://127.0.0.1:8188";
    const first = slaRunbook("", facts());
    const both = slaRunbook(first, facts({ target: { kind: "comfyui", url, version: null } }));
    expect(both).toContain("## Holdfast at `http://127.0.0.1:8328`");
    expect(both).toContain(`## ComfyUI at \`${url}\``);
    expect(both.split("## When a target is missed")).toHaveLength(2);
    const later = facts({ writtenAt: "2026-11-29T12:00:00.000Z" });
    expect(slaRunbook(first, later)).toBe(slaRunbook("", later));
  });

  it("says which trial a figure is of", () => {
    const verdict = judgeSla(DEFAULT_SLA.targets, {
      ...NO_SLA_FACTS,
      imagesPerMinute: { value: 40.4, from: 168, books: 14 },
    });
    expect(slaRunbook("", facts({ verdict }))).toContain("| 40.4 images/min (of 168, 14 books) |");
  });

  it("is not broken by names from outside", () => {
    const text = slaRunbook("", facts({ workflows: [{ name: "a`|\n# b", hash: "x" }] }));
    expect(text).toContain("`a   # b`");
    expect(text).not.toMatch(/^# b/m);
  });
});
