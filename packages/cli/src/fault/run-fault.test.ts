import { describe, expect, it } from "vitest";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { EXIT } from "../exit-codes.ts";
import type { FaultOptions } from "./options.ts";
import type { FaultRow, FaultRun } from "./result.ts";
import { exitCodeOf, listScenarios, runFault } from "./run-fault.ts";
import { reportText, summaryLine, tableLines } from "./table.ts";

const row = (facts: Partial<FaultRow>): FaultRow => ({
  name: "zombie",
  title: "a title",
  expectation: "it is found",
  ...facts,
});
const judged = (state: "passed" | "failed", reasons: readonly string[] = []) =>
  ({
    kind: "judged",
    verdict: { state, reasons, evidence: ["the fault", "what was seen"] },
    jobs: 8,
    attempts: 9,
    seconds: 2,
  }) as const;
const lost = { kind: "rendered", jobs: 8, lost: 3, reasons: ["socket lost"], struck: 1 } as const;

describe("the exit code", () => {
  it("is a failure where a scenario failed, and never for what a bare client lost", () => {
    expect(exitCodeOf([row({ holdfast: judged("passed") })])).toBe(EXIT.ok);
    expect(exitCodeOf([row({ bare: lost })])).toBe(EXIT.ok);
    expect(exitCodeOf([row({ holdfast: judged("failed", ["x"]), bare: lost })])).toBe(EXIT.failed);
  });

  it("tells a world that could not be started from a failure, and what is not possible from both", () => {
    const noWorld = row({ holdfast: { kind: "no_world", why: "no port" } });
    expect(exitCodeOf([noWorld])).toBe(EXIT.unavailable);
    expect(exitCodeOf([noWorld, row({ holdfast: judged("failed", ["x"]) })])).toBe(EXIT.failed);
    expect(exitCodeOf([row({ holdfast: { kind: "not_here", why: "x" } })])).toBe(EXIT.ok);
  });
});

describe("the table", () => {
  const rows = [
    row({ holdfast: judged("passed"), bare: lost }),
    row({
      name: "disk-full",
      holdfast: judged("failed", ["job 1 is lost", "job 2 is lost", "job 3 is lost"]),
    }),
    row({ name: "gpu-oom", holdfast: { kind: "not_here", why: "it would fill a card" } }),
  ];
  const run: FaultRun = {
    version: 1,
    holdfast: "0.1.0",
    startedAt: "2026-11-28T12:00:00.000Z",
    seconds: 61,
    on: "simulated ComfyUI",
    jobs: 8,
    rows,
  };

  it("never calls passed what was not tried", () => {
    const text = tableLines(rows, Infinity).map((line) => line.replaceAll(/ {2,}/g, " | "));
    expect(text).toEqual([
      "SCENARIO | HOLDFAST | JOBS | ATTEMPTS | TOOK | BARE CLIENT | WHAT WAS SEEN",
      "zombie | passed | 8 | 9 | 2.0 s | 3 of 8 lost | what was seen; bare: socket lost",
      "disk-full | failed | 8 | 9 | 2.0 s | – | job 1 is lost; job 2 is lost; … 1 more",
      "gpu-oom | not possible here | – | it would fill a card",
    ]);
    expect(summaryLine(run)).toBe(
      "fault: Holdfast: 1 of 2 scenarios passed, 1 not tried, bare client: 3 of 8 jobs lost in 1 scenarios (simulated ComfyUI, 1 min 1 s)",
    );
  });

  it("says in the report all that was not so, and what was seen", () => {
    const text = reportText(run);
    for (const words of [
      "- **not so**: job 3 is lost",
      "- the fault",
      "it would fill a card",
      "3 of 8 lost (socket lost)",
    ]) {
      expect(text).toContain(words);
    }
  });
});

describe("holdfast fault", () => {
  const runWith = (names: readonly string[], options: FaultOptions) =>
    runFault(names, options, { terminal: recordingTerminal(), env: {} });

  it("lists what must happen", () => {
    const terminal = recordingTerminal();
    listScenarios({ json: true }, { terminal, env: {} });
    expect(terminal.lines.map((line) => JSON.parse(line) as unknown)).toContainEqual(
      expect.objectContaining({ name: "network-blip", quick: true }),
    );
  });

  it.each([
    [
      ["nonsense"],
      {},
      'there is no scenario "nonsense"; expected one of prompt-validation-failure',
    ],
    [[], {}, "expected names of scenarios, or --all, or --quick"],
    [["zombie"], { all: true }, "expected names of scenarios, or --all, or --quick"],
    [["zombie"], { client: "x" }, "--client: expected holdfast, bare, both"],
    [["zombie"], { jobs: 1_000 }, "--jobs: expected at most 200"],
    [["zombie"], { setting: ["x"] }, "--setting: expected NAME=VALUE"],
    [["zombie"], { comfyui: "ftp://x" }, "--comfyui: expected an address"],
  ] as const)("refuses %j %j", async (names, options, words) => {
    await expect(runWith(names, options)).rejects.toMatchObject({
      exitCode: EXIT.refused,
      message: expect.stringContaining(words),
    });
  });

  it("says that nobody answers where a ComfyUI is named and none is there", async () => {
    const options = { comfyui: "http://127.0.0.1:9" };
    await expect(runWith(["zombie"], options)).rejects.toMatchObject({
      exitCode: EXIT.unavailable,
    });
  });
});
