import { join } from "node:path";
import {
  attemptReportSchema,
  type AttemptReport,
  type ControlPlaneLink,
  type HeldAttempt,
  type Lease,
  type ReportAnswer,
} from "@holdfast/contract";
import { assertNever, createPace, type Pace } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import type { Disk } from "./disk.ts";
import { toEvidence } from "./evidence.ts";
import { linkPauseMs, type RetryDeps } from "./link-retry.ts";
import type { AgentLimits } from "./limits.ts";
import { reportRefusal } from "./report-refusal.ts";
import { cleanDeep, cutText } from "./wire-text.ts";
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
  readonly disk: Disk;
  readonly link: Pick<ControlPlaneLink, "putBlob" | "report">;
  readonly spool: Pick<Spool, "find">;
  readonly log: AgentLog;
  readonly limits: Pick<
    AgentLimits,
    "linkBackoffMaxMs" | "linkBackoffMs" | "reportGroupTries" | "reportRest" | "reportTries"
  >;
  readonly session: () => Session | undefined;
  /** A call was answered with a code that concerns the whole agent. */
  readonly onRefused: (error: unknown, session: Session) => void;
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
  /** How often it was refused by itself. From the first time on it travels alone. */
  refusals: number;
  /** Not to be sent before this instant. */
  retryAt: number;
}

const GROUP_MAX = 100;
/** Longest words of a refusal that a replaced report repeats. */
const REFUSAL_TEXT_MAX = 300;

/**
 * Brings outcomes to the control plane: in groups, until each is answered, over restarts. A report
 * that is refused for what is in it travels alone from then on, so that it holds back no other, and
 * in the end a bare failure takes its place: its job must come to an end.
 */
export class Reporter {
  readonly #deps: ReporterDeps;
  readonly #stopping = new AbortController();
  readonly #entries = new Map<string, Entry>();
  readonly #waker: Waker;
  readonly #pace: Pace;
  #running: Promise<void> | undefined;
  #failures = 0;
  #groupRefusals = 0;

  constructor(deps: ReporterDeps) {
    this.#deps = deps;
    this.#waker = createWaker(deps.clock);
    this.#pace = createPace(deps.limits.reportRest);
  }

  /** Reads what an earlier life could not deliver; the hashes of the outputs named in it. */
  async load(): Promise<ReadonlySet<string>> {
    const { disk, folder } = this.#deps;
    await disk.mkdir(folder);
    const hashes = new Set<string>();
    for (const name of await disk.readdir(folder)) {
      const report = await readReport(disk, join(folder, name));
      if (report === undefined) {
        await disk.rm(join(folder, name));
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
      this.#entries.set(report.attemptId, {
        // What was kept on disk may be older than the rule that texts leave the agent clean.
        report: cleanDeep(report) as AttemptReport,
        putAgain,
        resolve,
        isLoaded,
        isOnDisk: isLoaded,
        isReplaced: false,
        refusals: 0,
        retryAt: -Infinity,
      });
      this.#waker.wake();
    });
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const session = this.#deps.session();
      const group = this.#nextGroup();
      if (group.length === 0 || session === undefined) {
        const retryAt = Math.min(...[...this.#entries.values()].map((entry) => entry.retryAt));
        const isLater = session !== undefined && Number.isFinite(retryAt);
        await this.#waker.wait(isLater ? retryAt - clock.elapsed() : Infinity, signal);
        continue;
      }
      const startedAt = clock.elapsed();
      try {
        await this.#deliver(group, session);
        this.#groupRefusals = 0;
        this.#pace.note(group.length);
        const restMs = startedAt + this.#pace.restMs() - clock.elapsed();
        if (restMs > 0) await slept(clock, restMs, signal);
      } catch (error) {
        if (!signal.aborted) await this.#onFailedDelivery(group, session, error);
      }
    }
  }

  /** What is due: a suspect by itself, or everything that was never refused. */
  #nextGroup(): readonly Entry[] {
    const now = this.#deps.clock.elapsed();
    const due = [...this.#entries.values()].filter((entry) => entry.retryAt <= now);
    const fresh = due.filter((entry) => entry.refusals === 0);
    return fresh.length > 0 ? fresh.slice(0, GROUP_MAX) : due.slice(0, 1);
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

  async #onFailedDelivery(
    group: readonly Entry[],
    session: Session,
    error: unknown,
  ): Promise<void> {
    const refusal = reportRefusal(error);
    if (refusal === "none") return this.#onFailure(error, session);
    const [only] = group;
    if (group.length === 1 && only !== undefined) return this.#onRefusedAlone(only, error);
    this.#groupRefusals += 1;
    // `internal` may pass by itself, and then a hundred calls for a hundred reports are too many.
    const isPassing = refusal === "perhaps";
    if (isPassing && this.#groupRefusals < this.#deps.limits.reportGroupTries) {
      return this.#onFailure(error, session);
    }
    this.#groupRefusals = 0;
    return this.#deliverSingly(group, session);
  }

  /** A group with a report that cannot be taken: each for itself, so that one spoils no other. */
  async #deliverSingly(group: readonly Entry[], session: Session): Promise<void> {
    for (const entry of group) {
      try {
        await this.#deliver([entry], session);
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        if (reportRefusal(error) === "none") return this.#onFailure(error, session);
        await this.#onRefusedAlone(entry, error);
      }
    }
  }

  /** Nobody but this report can be the reason. */
  async #onRefusedAlone(entry: Entry, err: unknown): Promise<void> {
    const { clock, limits, log } = this.#deps;
    const { attemptId } = entry.report;
    entry.refusals += 1;
    entry.retryAt = clock.elapsed() + linkPauseMs(this.#deps, entry.refusals);
    if (entry.refusals === 1) log.error({ attemptId, err }, "report was refused");
    await this.#keepOnDisk(entry);
    if (entry.refusals < limits.reportTries) return;
    entry.refusals = 1;
    if (entry.isReplaced) {
      // Not even a bare failure is taken: the lease runs out, and that ends the attempt as well.
      log.error({ attemptId, err }, "report was given up");
      return this.#finish(entry, "lease_lost");
    }
    const text = cutText(err instanceof Error ? err.message : "", REFUSAL_TEXT_MAX);
    const evidence = toEvidence("log", `The agent's report was refused: ${text}`);
    entry.report = replaceOutcome(entry.report, evidence);
    entry.isReplaced = true;
    entry.isOnDisk = false;
    log.error({ attemptId, err }, "a bare failure takes the place of a report");
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
        if (await this.#putAgain(entry, answer.missing)) return undefined;
        entry.report = replaceOutcome(
          entry.report,
          toEvidence("store", "The store has lost outputs, and so has the agent."),
        );
        return undefined;
      default:
        return assertNever(answer.result);
    }
  }

  /** False when the bytes are gone for good. A store that is down makes this report wait alone. */
  async #putAgain(entry: Entry, missing: readonly string[]): Promise<boolean> {
    const { clock, limits, log } = this.#deps;
    try {
      return await entry.putAgain(missing);
    } catch (err) {
      const { attemptId } = entry.report;
      entry.retryAt = clock.elapsed() + limits.linkBackoffMaxMs;
      log.warn({ attemptId, err }, "lost outputs could not be stored again");
      return true;
    }
  }

  async #onFailure(err: unknown, session: Session): Promise<void> {
    this.#failures += 1;
    if (this.#failures === 1) {
      this.#deps.log.warn({ err, unsent: this.#entries.size }, "reports could not be delivered");
    }
    this.#deps.onRefused(err, session);
    for (const entry of this.#entries.values()) await this.#keepOnDisk(entry);
    await slept(this.#deps.clock, linkPauseMs(this.#deps, this.#failures), this.#stopping.signal);
  }

  async #finish(entry: Entry, result: ReportResult): Promise<void> {
    const { attemptId } = entry.report;
    if (this.#entries.get(attemptId) !== entry) return;
    this.#entries.delete(attemptId);
    if (entry.isOnDisk) await this.#deps.disk.rm(this.#pathOf(attemptId));
    entry.resolve(result);
  }

  async #keepOnDisk(entry: Entry): Promise<void> {
    if (entry.isOnDisk) return;
    const { attemptId } = entry.report;
    const path = this.#pathOf(attemptId);
    try {
      await this.#deps.disk.writeFile(`${path}.tmp`, JSON.stringify(entry.report));
      await this.#deps.disk.rename(`${path}.tmp`, path);
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
      try {
        await this.#deps.link.putBlob(blob, this.#stopping.signal);
      } catch (error) {
        if (blob.isLost()) return false;
        throw error;
      } finally {
        await blob.release();
      }
    }
    return true;
  }

  #pathOf(attemptId: string): string {
    return join(this.#deps.folder, `${attemptId}.json`);
  }
}

function replaceOutcome(
  report: AttemptReport,
  evidence: ReturnType<typeof toEvidence>,
): AttemptReport {
  // Names of phases and their times are ours, but a number that JSON lacks would spoil this one too.
  return { ...report, outcome: { kind: "failed", evidence, outputs: [] }, timings: {} };
}

function hashesOf({ outcome }: AttemptReport): readonly string[] {
  const hasOutputs = outcome.kind === "succeeded" || outcome.kind === "failed";
  return hasOutputs ? outcome.outputs.map((output) => output.sha256) : [];
}

async function readReport(disk: Disk, path: string): Promise<AttemptReport | undefined> {
  try {
    const text = await disk.readFile(path);
    return attemptReportSchema.parse(JSON.parse(text));
  } catch {
    // Half written when the process was killed: its lease is resumed instead.
    return undefined;
  }
}
