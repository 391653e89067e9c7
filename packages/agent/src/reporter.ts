import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  attemptReportSchema,
  isHoldfastError,
  type AttemptReport,
  type ControlPlaneLink,
  type HeldAttempt,
  type Lease,
  type ReportAnswer,
} from "@holdfast/contract";
import type { AgentLog } from "./agent-log.ts";
import { toEvidence } from "./evidence.ts";
import { isTransient, linkPauseMs, type RetryDeps } from "./link-retry.ts";
import { createWaker } from "./pause.ts";
import type { Spool } from "./spool.ts";

/** What became of a report. `kept`: on disk, for the next agent process. */
export type ReportResult = "kept" | "lease_lost" | "recorded";

/** Which registration calls are made under. */
export interface Session {
  readonly machineId: string;
  readonly session: number;
}

/** Brings outcomes to the control plane: in groups, until each is answered, over restarts. */
export interface Reporter {
  /** Reads what an earlier life could not deliver; the hashes of the outputs named in it. */
  load(): Promise<ReadonlySet<string>>;
  start(): void;
  /** Resolves when the report is answered. `putAgain` uploads outputs that the store has lost. */
  send(
    report: AttemptReport,
    putAgain: (hashes: readonly string[]) => Promise<boolean>,
  ): Promise<ReportResult>;
  /** Attempts of an earlier life whose outcome is still to be delivered. */
  held(): readonly HeldAttempt[];
  /** A lease whose outcome is already here: true, and its report carries the new epoch. */
  adopt(lease: Lease): boolean;
  /** Forgets a report of an earlier life: the attempt is somebody else's. False if there was none. */
  drop(attemptId: string): boolean;
  unsent(): number;
  /** A new registration: what waited for it goes on. */
  wake(): void;
  /** Keeps what is not delivered on disk. */
  stop(): Promise<void>;
}

/** What a reporter is made of. */
export interface ReporterDeps extends RetryDeps {
  readonly folder: string;
  readonly link: Pick<ControlPlaneLink, "putBlob" | "report">;
  readonly spool: Pick<Spool, "find">;
  readonly log: AgentLog;
  readonly session: () => Session | undefined;
  /** A call was answered with a code that concerns the whole agent. */
  readonly onRefused: (error: unknown) => void;
}

interface Entry {
  report: AttemptReport;
  readonly putAgain: (hashes: readonly string[]) => Promise<boolean>;
  readonly resolve: (result: ReportResult) => void;
  readonly isLoaded: boolean;
  isOnDisk: boolean;
  isReplaced: boolean;
}

const GROUP_MAX = 100;

/** Makes a reporter that keeps undelivered reports in a folder of its own. */
export function createReporter(deps: ReporterDeps): Reporter {
  const { clock, log } = deps;
  const stopping = new AbortController();
  const { signal } = stopping;
  const entries = new Map<string, Entry>();
  const waker = createWaker(clock);
  let running: Promise<void> | undefined;
  let failures = 0;

  const pathOf = (attemptId: string): string => join(deps.folder, `${attemptId}.json`);
  const keepOnDisk = async (entry: Entry): Promise<void> => {
    if (entry.isOnDisk) return;
    const path = pathOf(entry.report.attemptId);
    try {
      await writeFile(`${path}.tmp`, JSON.stringify(entry.report));
      await rename(`${path}.tmp`, path);
      entry.isOnDisk = true;
    } catch (err) {
      // It is still in memory and is sent again; only a second failure would lose it.
      log.error({ attemptId: entry.report.attemptId, err }, "report could not be kept on disk");
    }
  };
  const finish = async (entry: Entry, result: ReportResult): Promise<void> => {
    const { attemptId } = entry.report;
    if (entries.get(attemptId) !== entry) return;
    entries.delete(attemptId);
    if (entry.isOnDisk) await rm(pathOf(attemptId), { force: true });
    entry.resolve(result);
  };
  const onAnswer = async (entry: Entry, answer: ReportAnswer): Promise<void> => {
    const { attemptId, jobId } = entry.report;
    switch (answer.result) {
      case "recorded":
        return finish(entry, "recorded");
      case "lease_lost":
        log.warn({ attemptId, jobId }, "report came too late, the job is somebody else's");
        return finish(entry, "lease_lost");
      case "outputs_missing": {
        const isPut = await entry.putAgain(answer.missing);
        if (isPut) return;
        const message = "The store has lost outputs, and so has the agent.";
        entry.report = replaceOutcome(entry.report, toEvidence("store", message));
      }
    }
  };
  const deliver = async (group: readonly Entry[], session: Session): Promise<void> => {
    const { answers } = await deps.link.report(
      { ...session, reports: group.map((entry) => entry.report) },
      signal,
    );
    failures = 0;
    for (const answer of answers) {
      const entry = group.find(({ report }) => report.attemptId === answer.attemptId);
      if (entry !== undefined) await onAnswer(entry, answer);
    }
  };
  /** A group with a report that cannot be taken: each for itself, so that one spoils no other. */
  const deliverSingly = async (group: readonly Entry[], session: Session): Promise<void> => {
    for (const entry of group) {
      try {
        await deliver([entry], session);
      } catch (err) {
        if (signal.aborted || isTransient(err) || isAboutAgent(err)) throw err;
        const { attemptId } = entry.report;
        log.error({ attemptId, err }, "report was refused");
        if (entry.isReplaced) await finish(entry, "lease_lost");
        const message = `The agent's report was refused: ${err instanceof Error ? err.message : ""}`;
        entry.report = replaceOutcome(entry.report, toEvidence("log", message));
        entry.isReplaced = true;
      }
    }
  };
  const onFailure = async (err: unknown): Promise<void> => {
    failures += 1;
    if (failures === 1) log.warn({ err, unsent: entries.size }, "reports could not be delivered");
    if (isAboutAgent(err)) deps.onRefused(err);
    for (const entry of entries.values()) await keepOnDisk(entry);
    await waker.wait(linkPauseMs(deps, failures), signal);
  };
  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      const session = deps.session();
      const group = [...entries.values()].slice(0, GROUP_MAX);
      if (group.length === 0 || session === undefined) {
        await waker.wait(Infinity, signal);
        continue;
      }
      try {
        await deliver(group, session).catch((error: unknown) => {
          if (signal.aborted || isTransient(error) || isAboutAgent(error)) throw error;
          return deliverSingly(group, session);
        });
      } catch (error) {
        if (signal.aborted) break;
        await onFailure(error);
      }
    }
  };
  const add = (
    report: AttemptReport,
    putAgain: Entry["putAgain"],
    isLoaded: boolean,
  ): Promise<ReportResult> =>
    new Promise((resolve) => {
      const entry = { report, putAgain, resolve, isLoaded, isOnDisk: isLoaded, isReplaced: false };
      entries.set(report.attemptId, entry);
      waker.wake();
    });
  const putFromSpool = async (hashes: readonly string[]): Promise<boolean> => {
    for (const sha256 of hashes) {
      const blob = await deps.spool.find(sha256);
      if (blob === undefined) return false;
      await deps.link.putBlob(blob, signal);
      await blob.release();
    }
    return true;
  };

  return {
    load: async () => {
      await mkdir(deps.folder, { recursive: true });
      const hashes = new Set<string>();
      for (const name of await readdir(deps.folder)) {
        const report = await readReport(join(deps.folder, name));
        if (report === undefined) {
          await rm(join(deps.folder, name), { force: true });
          continue;
        }
        for (const sha256 of hashesOf(report)) hashes.add(sha256);
        void add(report, putFromSpool, true);
      }
      return hashes;
    },
    start: () => {
      running ??= run();
    },
    send: (report, putAgain) => {
      if (signal.aborted) return Promise.resolve("kept");
      return add(report, putAgain, false);
    },
    held: () =>
      [...entries.values()]
        .filter((entry) => entry.isLoaded)
        .map(({ report: { attemptId, jobId, leaseEpoch } }) => ({
          attemptId,
          jobId,
          leaseEpoch,
          phase: "collecting" as const,
          progress: null,
        })),
    adopt: (lease) => {
      const entry = entries.get(lease.attemptId);
      if (entry === undefined) return false;
      entry.report = { ...entry.report, leaseEpoch: lease.leaseEpoch };
      waker.wake();
      return true;
    },
    drop: (attemptId) => {
      const entry = entries.get(attemptId);
      // One of this life is answered for itself.
      if (entry?.isLoaded !== true) return false;
      void finish(entry, "lease_lost");
      return true;
    },
    unsent: () => entries.size,
    wake: () => waker.wake(),
    stop: async () => {
      stopping.abort();
      await running;
      for (const entry of entries.values()) {
        await keepOnDisk(entry);
        entry.resolve("kept");
      }
    },
  };
}

/** Codes that concern the agent and no single report. */
function isAboutAgent(error: unknown): boolean {
  return isHoldfastError(error, "machine_unknown") || isHoldfastError(error, "agent_superseded");
}

function replaceOutcome(
  report: AttemptReport,
  evidence: ReturnType<typeof toEvidence>,
): AttemptReport {
  return { ...report, outcome: { kind: "failed", evidence, outputs: [] } };
}

function hashesOf({ outcome }: AttemptReport): readonly string[] {
  const hasOutputs = outcome.kind === "succeeded" || outcome.kind === "failed";
  return hasOutputs ? outcome.outputs.map((output) => output.sha256) : [];
}

async function readReport(path: string): Promise<AttemptReport | undefined> {
  try {
    const text = await readFile(path, "utf8");
    return attemptReportSchema.parse(JSON.parse(text));
  } catch {
    // Half written when the process was killed: its lease is resumed instead.
    return undefined;
  }
}
