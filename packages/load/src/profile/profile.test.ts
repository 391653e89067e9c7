import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLoadCollector } from "../summary/collector.ts";
import { createCardTally, vramPeakBytes } from "./card-tally.ts";
import { fedProfiles } from "./fed-profiles.ts";
import { profileSummarySchema, type ProfiledRun, type ProfileSummary } from "./model.ts";
import { readSmiLook } from "./nvidia-smi-line.ts";
import { profileReadme, profileReportHtml } from "./profile-report.ts";
import { createTraceWatch, type TraceEvent } from "./run-trace.ts";
import { profileWorkflow } from "./workflow-profile.ts";

const told = (...events: readonly (readonly [number, TraceEvent])[]) => {
  const watch = createTraceWatch();
  for (const [atMs, event] of events) watch.add(event, atMs);
  return watch.trace();
};
const start: readonly [number, TraceEvent] = [100, { kind: "execution_start" }];
const executing = (atMs: number, nodeId?: string): readonly [number, TraceEvent] => [
  atMs,
  { kind: "executing", nodeId },
];

describe("the trace of a run", () => {
  it("has the time of each node until the next, its first step and its silence", () => {
    expect(
      told(
        start,
        [101, { kind: "execution_cached", nodes: ["5"] }],
        executing(110, "4"),
        executing(600, "3"),
        [700, { kind: "progress", nodeId: "3", value: 1 }],
        [800, { kind: "progress", nodeId: "3", value: 2 }],
        executing(900, "9"),
        executing(1_000),
      ),
    ).toEqual({
      executeMs: 900,
      nodes: [
        { nodeId: "4", ms: 490 },
        { nodeId: "3", ms: 300 },
        { nodeId: "9", ms: 100 },
      ],
      cachedNodes: ["5"],
      firstStepMs: 600,
      longestSilenceMs: 490,
    });
  });

  it("tells nothing of a run that did not end, or whose socket was away", () => {
    expect(told(start, executing(110, "4"))).toBeNull();
    expect(
      told(start, executing(110, "4"), [120, { kind: "socket_away" }], executing(200)),
    ).toBeNull();
    expect(told([1, { kind: "socket_away" }], start, executing(200))).not.toBeNull();
    expect(told(executing(200))).toBeNull();
  });

  it("never tells more time of nodes than the run took", () => {
    const event = fc.oneof(
      fc.constantFrom("1", "2", "3").map((nodeId): TraceEvent => ({ kind: "executing", nodeId })),
      fc.constant<TraceEvent>({ kind: "sign" }),
      fc.constant<TraceEvent>({ kind: "progress", nodeId: "1", value: 1 }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 1_000 }), event)), (steps) => {
        let atMs = 100;
        const events = steps.map(([ms, one]) => [(atMs += ms), one] as const);
        const trace = told(start, ...events, executing(atMs + 1));
        const sum = trace?.nodes.reduce((all, { ms }) => all + ms, 0) ?? Infinity;
        expect(sum).toBeLessThanOrEqual(trace?.executeMs ?? 0);
        expect(trace?.longestSilenceMs).toBeLessThanOrEqual(trace?.executeMs ?? 0);
      }),
    );
  });
});

describe("nvidia-smi's three columns", () => {
  it("are read a card a line, unknown where it does not say, and nothing of a failure", () => {
    const look = readSmiLook(
      "2026/11/28 12:00:00.123, 45, 8123\r\n2026/11/28 12:00:00.124, [N/A], [Not Supported]\nUnable to determine the device handle for GPU 0000:01:00.0: Unknown Error\n",
    );
    expect(look.cards).toEqual([
      { gpu: 0, utilisationPercent: 45, memoryUsedMb: 8_123 },
      { gpu: 1, utilisationPercent: null, memoryUsedMb: null },
    ]);
    expect(look.lines).toHaveLength(2);
    expect(readSmiLook("No devices were found\n")).toEqual({ lines: [], cards: [] });
  });
});

describe("memory of the cards", () => {
  const sample = (source: "nvidia-smi" | "system_stats", memoryUsedMb: number | null, gpu = 0) => ({
    atMs: 0,
    gpu,
    utilisationPercent: null,
    memoryUsedMb,
    source,
  });

  it("is what was used above what was there before, of the card that rose most", () => {
    const tally = createCardTally();
    for (const gpu of [0, 1]) tally.before(sample("nvidia-smi", 1_000, gpu));
    tally.add(sample("nvidia-smi", 1_100, 0));
    tally.add(sample("nvidia-smi", 3_000, 1));
    tally.before(sample("system_stats", 0));
    tally.add(sample("system_stats", 9_000));
    expect(vramPeakBytes(tally.cards())).toBe(2_000 * 1024 ** 2);
  });

  it("is ComfyUI's word where nvidia-smi has none, and null without either", () => {
    const tally = createCardTally();
    tally.before(sample("nvidia-smi", null));
    tally.add(sample("nvidia-smi", null));
    expect(vramPeakBytes(tally.cards())).toBeNull();
    tally.before(sample("system_stats", 500));
    tally.add(sample("system_stats", 400));
    expect(vramPeakBytes(tally.cards())).toBe(0);
    expect(vramPeakBytes([])).toBeNull();
  });
});

const run = (index: number, more: Partial<ProfiledRun> = {}): ProfiledRun => ({
  index,
  seed: index,
  kind: index === 0 ? "cold" : "warm",
  outcome: "completed",
  errorClass: null,
  message: "",
  executeMs: index === 0 ? 5_000 : 1_000,
  firstStepMs: index === 0 ? 4_100 : 100,
  longestSilenceMs: index === 0 ? 3_900 : 90,
  loaderMs: index === 0 ? 3_900 : 0,
  nodes:
    index === 0
      ? [
          { nodeId: "4", ms: 3_900 },
          { nodeId: "3", ms: 1_000 },
        ]
      : [{ nodeId: "3", ms: 900 }],
  ...more,
});
const node = (nodeId: string, isLoader = false) => ({
  nodeId,
  classType: `Class${nodeId}`,
  title: null,
  isLoader,
});
const profiled = (runs: readonly ProfiledRun[]) =>
  profileWorkflow({
    name: "fox",
    hash: "abc",
    asked: 3,
    nodes: [node("4", true), node("3")],
    runs,
    cards: [],
  });
const summaryOf = (runs: readonly ProfiledRun[]): ProfileSummary => ({
  version: 1,
  target: { kind: "comfyui", url: "http://127.0.0.1:8188", version: "0.3.64" },
  startedAt: "2026-11-28T12:00:00.000Z",
  durationSeconds: 7,
  runsAsked: 3,
  stoppedBecause: "done",
  gpuName: "cpu",
  notes: ["a note"],
  workflows: [profiled(runs).summary],
});

describe("a workflow's profile", () => {
  it("tells cold from warm, and what loading took", () => {
    const { summary, profile } = profiled([run(0), run(1), run(2)]);
    expect(summary).toMatchObject({
      coldMs: 5_000,
      warmMs: { count: 2, mean: 1_000 },
      loadMs: 4_000,
      loadShare: 0.8,
      loaderMs: { cold: 3_900, warm: 0 },
      firstStepMs: { cold: 4_100, warm: 100 },
      longestSilenceMs: 3_900,
      vramPeakBytes: null,
      bottlenecks: [{ nodeId: "3", share: 1 }],
    });
    expect(profile.nodes).toMatchObject([
      { nodeId: "3", count: 2, meanMs: 900, coldMs: 1_000 },
      { nodeId: "4", count: 0, meanMs: null, share: 0, coldMs: 3_900 },
    ]);
  });

  it("makes no figure of what is not there: no warm run, runs from the cache, no runs", () => {
    for (const runs of [[run(0)], [run(0), run(1, { kind: "cached", executeMs: 3 })], []]) {
      expect(profiled(runs).summary).toMatchObject({ warmMs: null, loadMs: null, loadShare: null });
    }
    const failed = profiled([run(0, { outcome: "failed" }), run(1, { outcome: "timed_out" })]);
    expect(failed.summary).toMatchObject({ coldMs: null, runs: { completed: 0, failed: 2 } });
  });

  it("does not say that loading took no time where cold was less than warm", () => {
    const { summary } = profiled([run(0, { executeMs: 900 }), run(1)]);
    expect(summary).toMatchObject({ coldMs: 900, loadMs: null, loadShare: null });
    const same = profiled([run(0, { executeMs: 1_000 }), run(1)]);
    expect(same.summary).toMatchObject({ loadMs: 0, loadShare: 0 });
  });

  it("of a server that cannot tell has neither a cold nor a warm time", () => {
    const unknown = { kind: "unknown", nodes: null, loaderMs: null } as const;
    const { summary, profile } = profiled([run(0, unknown), run(1, unknown)]);
    expect(summary).toMatchObject({ coldMs: null, warmMs: null, bottlenecks: [] });
    expect(profile.nodes).toEqual([]);
  });

  it("is fed to a Holdfast where it has a warm time", () => {
    const graph = { "1": {} };
    const rows = fedProfiles(summaryOf([run(0), run(1), run(2)]), () => graph);
    expect(rows).toEqual([
      {
        graph,
        gpuName: "cpu",
        coldMs: 5_000,
        warmMs: 1_000,
        loadMs: 4_000,
        vramPeakBytes: null,
        longestSilenceMs: 3_900,
        runs: 2,
        measuredAt: "2026-11-28T12:00:00.000Z",
      },
    ]);
    expect(fedProfiles(summaryOf([run(0)]), () => graph)).toEqual([]);
  });
});

describe("the texts of a profile", () => {
  const texts = (summary: ProfileSummary): string => {
    const collector = createLoadCollector();
    const { gpu } = collector.measured();
    const profiles = [profiled([run(0), run(1)]).profile];
    return `${profileReportHtml({ summary, profiles, timeline: collector.timeline(), gpu })}${profileReadme(summary, [["summary.json", "figures"]])}`;
  };

  it("say what was measured, and make no zero of what was not", () => {
    const summary = summaryOf([run(0), run(1)]);
    expect(profileSummarySchema.parse(JSON.parse(JSON.stringify(summary)))).toEqual(summary);
    expect(texts(summary)).toContain("| fox | 2 of 3 | 5 s | 1 s | 4 s | 80 % |");
    expect(texts(summaryOf([]))).toContain("| fox | 0 of 3 | – | – | – | – | – | – | – | – |");
  });

  it("make no digits of what takes no time", () => {
    const nodes = [
      { nodeId: "3", ms: 900 },
      { nodeId: "4", ms: 0.0123 },
    ];
    const runs = [run(0, { nodes, loaderMs: 0.0123 }), run(1, { nodes })];
    const collector = createLoadCollector();
    const { gpu } = collector.measured();
    const page = profileReportHtml({
      summary: summaryOf(runs),
      profiles: [profiled(runs).profile],
      timeline: collector.timeline(),
      gpu,
    });
    expect(page).toContain("<b>&lt; 0.1 ms</b>");
    expect(page).toContain("took &lt; 0.1 ms of the cold run, &lt; 0.1 %.");
    expect(page).not.toContain("0.0123");
  });

  it("stay what they are, whatever names hold", () => {
    const hostile = `<script>alert(1)</script>|\n# x`;
    const summary = summaryOf([run(0)]);
    const page = texts({
      ...summary,
      notes: [hostile],
      workflows: summary.workflows.map((one) => ({ ...one, name: hostile })),
    });
    const [html = "", readme = ""] = page.split("</html>");
    expect(html).not.toContain("<script");
    expect(readme).not.toMatch(/^# x|(?<!\\)<script/m);
  });
});
