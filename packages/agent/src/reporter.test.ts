import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HoldfastError, type AttemptReport, type ReportRequest } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { AgentLog } from "./agent-log.ts";
import { nodeDisk } from "./disk.ts";
import { Reporter } from "./reporter.ts";

const random = seededRandom(11);
const ids = createIdSource(systemClock, random);
const nothing = (): void => undefined;
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing } as unknown as AgentLog;

let folder: string;
let reporter: Reporter | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-reports-"));
});
afterEach(async () => {
  await reporter?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A control plane that refuses what `refuse` says, and what it recorded. */
function reporterTo(refuse: (request: ReportRequest) => HoldfastError | undefined) {
  const recorded: AttemptReport[] = [];
  const calls: ReportRequest[] = [];
  reporter = new Reporter({
    folder,
    disk: nodeDisk,
    clock: systemClock,
    random,
    log,
    limits: {
      linkBackoffMs: 1,
      linkBackoffMaxMs: 2,
      reportRest: { minMs: 0, maxMs: 0 },
      reportGroupTries: 3,
      reportTries: 4,
    },
    spool: { find: () => Promise.resolve(undefined) },
    session: () => ({ machineId: "mch_1", session: 1 }),
    onRefused: nothing,
    link: {
      putBlob: () => Promise.reject(new Error("no store here")),
      report: (request) => {
        calls.push(request);
        const refusal = refuse(request);
        if (refusal !== undefined) return Promise.reject(refusal);
        recorded.push(...request.reports);
        return Promise.resolve({
          answers: request.reports.map(({ attemptId }) => {
            return { attemptId, result: "recorded" as const, missing: [] };
          }),
        });
      },
    },
  });
  return { reporter, recorded, calls };
}

function report(message = "fine"): AttemptReport {
  const evidence = { channel: "execution", message };
  return {
    attemptId: ids.next("att"),
    jobId: ids.next("job"),
    leaseEpoch: 1,
    outcome: { kind: "failed", evidence, outputs: [] },
    started: true,
    timings: { executeMs: 1 },
  };
}
const messageOf = ({ outcome }: AttemptReport): string =>
  outcome.kind === "failed" ? outcome.evidence.message : outcome.kind;
const noBytes = (): Promise<boolean> => Promise.resolve(false);

describe("a report that the control plane can never take", () => {
  for (const code of ["internal", "invalid_request"] as const) {
    it(`holds back no other, and its job gets an end (${code})`, async () => {
      const to = reporterTo(({ reports }) =>
        reports.some((each) => messageOf(each) === "poison")
          ? new HoldfastError(code, "not this one")
          : undefined,
      );
      const sent = ["one", "poison", "two"].map((text) => to.reporter.send(report(text), noBytes));
      to.reporter.start();
      await expect(Promise.all(sent)).resolves.toEqual(["recorded", "recorded", "recorded"]);
      expect(to.recorded.map((each) => messageOf(each))).toEqual([
        "one",
        "two",
        "The agent's report was refused: not this one",
      ]);
    });
  }

  it("is given up when not even a bare failure is taken", async () => {
    const to = reporterTo(() => new HoldfastError("invalid_request", "never"));
    const sent = to.reporter.send(report("poison"), noBytes);
    to.reporter.start();
    await expect(sent).resolves.toBe("lease_lost");
    expect(await readdir(folder)).toEqual([]);
  });
});

it("keeps what is in a report while the agent itself is refused", async () => {
  let refusals = 0;
  const to = reporterTo(() => {
    refusals += 1;
    return refusals < 30 ? new HoldfastError("unauthorized", "this key was withdrawn") : undefined;
  });
  const sent = to.reporter.send(report("the result"), noBytes);
  to.reporter.start();
  await expect(sent).resolves.toBe("recorded");
  expect(to.recorded.map((each) => messageOf(each))).toEqual(["the result"]);
});

it("does not call once for each report when trouble passes by itself", async () => {
  let refusals = 0;
  const to = reporterTo(() => {
    refusals += 1;
    return refusals < 3 ? new HoldfastError("internal", "for a moment") : undefined;
  });
  const sent = Array.from({ length: 50 }, () => to.reporter.send(report(), noBytes));
  to.reporter.start();
  await Promise.all(sent);
  expect(to.calls).toHaveLength(3);
});

it("cleans what an earlier life kept on disk", async () => {
  const kept = report("half of a pair: \ud83d, and a \0");
  await writeFile(join(folder, `${kept.attemptId}.json`), JSON.stringify(kept));
  const to = reporterTo(() => undefined);
  await to.reporter.load();
  to.reporter.start();
  while (to.recorded.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(to.recorded.map((each) => messageOf(each))).toEqual([
    "half of a pair: \ufffd, and a \ufffd",
  ]);
});
