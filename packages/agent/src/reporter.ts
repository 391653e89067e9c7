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
import { assertNever } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { toEvidence } from "./evidence.ts";
import { isTransient, linkPauseMs, type RetryDeps } from "./link-retry.ts";
import { createWaker, slept, type Waker } from "./pause.ts";
import type { Spool } from "./spool.ts";

/** What became of a report. `kept`: on disk, for the next agent process. */
export type ReportResult = "kept" | "lease_lost" | "recorded";

/** Which registration calls are made under. */
export interface Session {
  readonly machineId: string;
  readonly session: number;
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

/** Uploads bytes again; false when they are gone here too. */
type PutAgain = (hashes: readonly string[]) => Promise<boolean>;

interface Entry {
  report: AttemptReport;
  readonly putAgain: PutAgain;
  readonly resolve: (result: ReportResult) => void;
  readonly isLoaded: boolean;
  isOnDisk: boolean;
  isReplaced: boolean;
}

const GROUP_MAX = 100;

/** Brings outcomes to the control plane: in groups, until each is answered, over restarts. */
export class Reporter {
  readonly #deps: ReporterDeps;
  readonly #stopping = new AbortController();
  readonly #entries = new Map<string, Entry>();
  readonly #waker: Waker;
  #running: Promise<void> | undefined;
  #failures = 0;

  constructor(deps: ReporterDeps) {
    this.#deps = deps;
    this.#waker = createWaker(deps.clock);
  }

  /** Reads what an earlier life could not deliver; the hashes of the outputs named in it. */
  async load(): Promise<ReadonlySet<string>> {
    const { folder } = this.#deps;
    await mkdir(folder, { recursive: true });
    const hashes = new Set<string>();
    for (const name of await readdir(folder)) {
      const report = await readReport(join(folder, name));
      if (report === undefined) {
        await rm(join(folder, name), { force: true });
        continue;
      }
      for (const sha256 of hashesOf(report)) hashes.add(sha256);
      void this.#add(report, (missing) => this.#putFromSpool(missing), true);
    }
    return hashes;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Keeps what is not delivered on disk. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    for (const entry of this.#entries.values()) {
      await this.#keepOnDisk(entry);
      entry.resolve("kept");
    }
  }

  /** Resolves when the report is answered. `putAgain` uploads outputs that the store has lost. */
  send(report: AttemptReport, putAgain: PutAgain): Promise<ReportResult> {
    if (this.#stopping.signal.aborted) return Promise.resolve("kept");
    return this.#add(report, putAgain, false);
  }

  /** Attempts of an earlier life whose outcome is still to be delivered. */
  held(): readonly HeldAttempt[] {
    return [...this.#entries.values()]
      .filter((entry) => entry.isLoaded)
      .map(({ report: { attemptId, jobId, leaseEpoch } }) => {
        return { attemptId, jobId, leaseEpoch, phase: "collecting", progress: null };
      });
  }

  /** A lease whose outcome is already here: true, and its report carries the new epoch. */
  adopt(lease: Lease): boolean {
    const entry = this.#entries.get(lease.attemptId);
    if (entry === undefined) return false;
    entry.report = { ...entry.report, leaseEpoch: lease.leaseEpoch };
    this.#waker.wake();
    return true;
  }

  /** Forgets a report of an earlier life: the attempt is somebody else's. False if there was none. */
  drop(attemptId: string): boolean {
    const entry = this.#entries.get(attemptId);
    // One of this life is answered for itself.
    if (entry?.isLoaded !== true) return false;
    void this.#finish(entry, "lease_lost");
    return true;
  }

  unsent(): number {
    return this.#entries.size;
  }

  /** A new registration: what waited for it goes on. */
  wake(): void {
    this.#waker.wake();
  }

  #add(report: AttemptReport, putAgain: PutAgain, isLoaded: boolean): Promise<ReportResult> {
    return new Promise((resolve) => {
      const entry = { report, putAgain, resolve, isLoaded, isOnDisk: isLoaded, isReplaced: false };
      this.#entries.set(report.attemptId, entry);
      this.#waker.wake();
    });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const session = this.#deps.session();
      const group = [...this.#entries.values()].slice(0, GROUP_MAX);
      if (group.length === 0 || session === undefined) {
        await this.#waker.wait(Infinity, signal);
        continue;
      }
      try {
        await this.#deliver(group, session).catch((error: unknown) => {
          if (signal.aborted || isTransient(error) || isAboutAgent(error)) throw error;
          return this.#deliverSingly(group, session);
        });
      } catch (error) {
        if (!signal.aborted) await this.#onFailure(error);
      }
    }
  }

  async #deliver(group: readonly Entry[], session: Session): Promise<void> {
    const reports = group.map((entry) => entry.report);
    const { signal } = this.#stopping;
    const { answers } = await this.#deps.link.report({ ...session, reports }, signal);
    this.#failures = 0;
    for (const answer of answers) {
      const entry = group.find(({ report }) => report.attemptId === answer.attemptId);
      if (entry !== undefined) await this.#onAnswer(entry, answer);
    }
  }

  /** A group with a report that cannot be taken: each for itself, so that one spoils no other. */
  async #deliverSingly(group: readonly Entry[], session: Session): Promise<void> {
    for (const entry of group) {
      try {
        await this.#deliver([entry], session);
      } catch (err) {
        if (this.#stopping.signal.aborted || isTransient(err) || isAboutAgent(err)) throw err;
        const { attemptId } = entry.report;
        this.#deps.log.error({ attemptId, err }, "report was refused");
        if (entry.isReplaced) await this.#finish(entry, "lease_lost");
        const text = err instanceof Error ? err.message : "";
        const evidence = toEvidence("log", `The agent's report was refused: ${text}`);
        entry.report = replaceOutcome(entry.report, evidence);
        entry.isReplaced = true;
      }
    }
  }

  async #onAnswer(entry: Entry, answer: ReportAnswer): Promise<void> {
    const { attemptId, jobId } = entry.report;
    switch (answer.result) {
      case "recorded":
        return this.#finish(entry, "recorded");
      case "lease_lost":
        this.#deps.log.warn({ attemptId, jobId }, "report came too late for its lease");
        return this.#finish(entry, "lease_lost");
      case "outputs_missing":
        if (await entry.putAgain(answer.missing)) return undefined;
        entry.report = replaceOutcome(
          entry.report,
          toEvidence("store", "The store has lost outputs, and so has the agent."),
        );
        return undefined;
      default:
        return assertNever(answer.result);
    }
  }

  async #onFailure(err: unknown): Promise<void> {
    this.#failures += 1;
    if (this.#failures === 1) {
      this.#deps.log.warn({ err, unsent: this.#entries.size }, "reports could not be delivered");
    }
    if (isAboutAgent(err)) this.#deps.onRefused(err);
    for (const entry of this.#entries.values()) await this.#keepOnDisk(entry);
    await slept(this.#deps.clock, linkPauseMs(this.#deps, this.#failures), this.#stopping.signal);
  }

  async #finish(entry: Entry, result: ReportResult): Promise<void> {
    const { attemptId } = entry.report;
    if (this.#entries.get(attemptId) !== entry) return;
    this.#entries.delete(attemptId);
    if (entry.isOnDisk) await rm(this.#pathOf(attemptId), { force: true });
    entry.resolve(result);
  }

  async #keepOnDisk(entry: Entry): Promise<void> {
    if (entry.isOnDisk) return;
    const { attemptId } = entry.report;
    const path = this.#pathOf(attemptId);
    try {
      await writeFile(`${path}.tmp`, JSON.stringify(entry.report));
      await rename(`${path}.tmp`, path);
      entry.isOnDisk = true;
    } catch (err) {
      // It is still in memory and is sent again; only a second failure would lose it.
      this.#deps.log.error({ attemptId, err }, "report could not be kept on disk");
    }
  }

  async #putFromSpool(hashes: readonly string[]): Promise<boolean> {
    for (const sha256 of hashes) {
      const blob = await this.#deps.spool.find(sha256);
      if (blob === undefined) return false;
      await this.#deps.link.putBlob(blob, this.#stopping.signal);
      await blob.release();
    }
    return true;
  }

  #pathOf(attemptId: string): string {
    return join(this.#deps.folder, `${attemptId}.json`);
  }
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
