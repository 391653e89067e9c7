import { describe, expect, it } from "vitest";
import { failure, machine, NOW } from "../../testing/fleet-facts.ts";
import { machinePage, type MachineRun } from "./machine-page.ts";

const LOOK = { now: NOW, columns: 120 };
const REASON = "its provider says that it ended: the process ended with exit code 3";

const RUN: MachineRun = {
  runId: "run1",
  kind: "start",
  ok: false,
  startedAt: "2026-01-31T11:51:00.000Z",
  durationMs: 61_000,
  logUrl: "/api/v1/machines/mch_1/logs/run1",
  steps: [
    {
      title: "Packages",
      outcome: "failed",
      durationMs: 1_500,
      detail: "no room on the disk",
      advice: "make room",
    },
  ],
};

describe("the page of a machine", () => {
  it("has the whole reason, the instants, the cost and where its log is", () => {
    const ended = failure(4, { provider: "local", endKind: "crash", reason: REASON, ref: null });
    expect(machinePage(ended, [RUN], LOOK)).toEqual([
      "hf-gpu-f4: ended, failed",
      "Cause            failed: crash",
      `Why              ${REASON}`,
      "Pool             gpu, provider local",
      "Id               flm_f4, agent mch_1",
      "GPU              A",
      "Asked for        2026-01-31T11:00:00.000Z (1 h 10 min ago)",
      "Created          2026-01-31T11:50:00.000Z (20 min 0 s ago)",
      "Healthy          never",
      "Ended            2026-01-31T12:04:30.000Z (5 min 30 s ago)",
      "Cost             $1.20 an hour, about $0.29 in all",
      expect.stringMatching(/^Log {14}on the server's host: fleet\/hf-gpu-f4\/machine\.log in its/),
      expect.stringMatching(/^ {17}/),
      "Steps            start at 2026-01-31T11:51:00.000Z, 1 min 1 s, failed; its log: GET /api/v1/machines/mch_1/logs/run1",
      "  OUTCOME   TOOK  STEP      DETAIL",
      "  failed   1.5 s  Packages  no room on the disk → make room",
    ]);
  });

  it("of one that lives has its heartbeat, its jobs, and who asked for it", () => {
    const lines = machinePage(machine({ forcedBy: "key_ann" }), [], LOOK);
    expect(lines[0]).toBe("hf-gpu-1: ready, healthy");
    expect(lines).toContain("Heartbeat        1.5 s ago");
    expect(lines).toContain("Jobs             1");
    expect(lines).toContain(
      "Asked for        2026-01-31T11:00:00.000Z (1 h 10 min ago), by key_ann",
    );
    expect(lines).toContain("Log              in RunPod's console, at pod pod-1");
    expect(lines).toContain("Steps            none were told");
  });

  it("says when its agent never came", () => {
    const lines = machinePage(failure(4, { machineId: null }), null, LOOK);
    expect(lines.at(-1)).toBe("Steps            none: its agent never registered here");
  });

  it("shows the newest runs, and how many there are besides", () => {
    const lines = machinePage(
      machine(),
      Array.from({ length: 5 }, () => RUN),
      LOOK,
    );
    expect(lines.filter((line) => line.includes("start at"))).toHaveLength(3);
    expect(lines.at(-1)).toBe("Steps            2 older runs: --json");
  });
});
