/**
 * Tells the control plane what the machine is and how its starts went. None of it is needed for a job:
 * whatever fails here is tried again later and holds nothing else up.
 *
 * T1  A report is level-triggered: only the newest is ever sent.
 * T2  Runs that are not delivered are kept in memory, bounded by {@link RUNS_MAX} and
 *     {@link MAX_STEPS_PER_RUN}; the oldest go first, and that is logged.
 * T3  A control plane that does not know these calls (`not_found`) is asked again after a long rest.
 * T4  Reports and runs wait each for themselves, and no longer than the session lasts: another one may
 *     be answered by another control plane.
 * T5  A log that cannot be read any more is left out; its run is told without it.
 */
import {
  isHoldfastError,
  machineReportSchema,
  MAX_STEPS_PER_RUN,
  type BlobSource,
  type ControlPlaneLink,
  type MachineReport,
  type ModelFetch,
  type RunKind,
  type StartupStep,
} from "@holdfast/contract";
import { backoffMs } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { isTransient, type RetryDeps } from "./link-retry.ts";
import type { AgentLimits } from "./limits.ts";
import { fitReport, fitStep, type OwnReport } from "./machine-report-fit.ts";
import { createWaker, slept, type Waker } from "./pause.ts";
import { reportRefusal } from "./report-refusal.ts";
import type { Session } from "./reporter.ts";

/** How a start, an installation or an update went so far. */
export interface ToldRun {
  /** Letters, digits, `.`, `_` and `-`, at most 64; the same run may be told again and again. */
  readonly runId: string;
  readonly kind: RunKind;
  /** All of them, or those that are new: what was told before stays. */
  readonly steps: readonly StartupStep[];
  /** The whole log, once it is whole: kept as long as the run is. */
  readonly log?: BlobSource;
}

/** What a {@link MachineTeller} is made of. */
export interface MachineTellerDeps extends RetryDeps {
  readonly link: Pick<ControlPlaneLink, "putBlob" | "putMachineReport" | "putStartupSteps">;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly agentVersion: string;
  readonly session: () => Session | undefined;
  /** What the machine is now; undefined where nobody knows. Cheap. */
  readonly report: (() => OwnReport | undefined) | undefined;
  readonly fetches: () => readonly ModelFetch[];
}

/** Runs kept until they are delivered. */
export const RUNS_MAX = 20;
/** Steps of one call: each may have some kilobytes to say. */
const STEPS_PER_CALL = 200;
/** Refusals after which a run is given up: something is wrong with it, not with the way. */
const REFUSALS_MAX = 3;
const BACKOFF = { initialMs: 1_000, maxMs: 300_000, factor: 2, jitter: 0.3 };
/** A control plane that does not know these calls may be updated meanwhile. */
const UNKNOWN_REST_MS = 3_600_000;
/** Between two reports, however much changes. */
const REPORT_REST_MS = 2_000;
/** A report that takes longer is ended and sent again. */
const PIECE_MS = 60_000;

interface PendingRun {
  readonly kind: RunKind;
  /** Those that are not delivered as they are now. */
  readonly steps: Map<string, StartupStep>;
  log: BlobSource | undefined;
  refusals: number;
}

/** How often a kind of telling has failed, and until when it rests. */
interface Rest {
  failures: number;
  notBefore: number;
}

const RESTED: Rest = { failures: 0, notBefore: -Infinity };

/** See the header. */
export class MachineTeller {
  readonly #deps: MachineTellerDeps;
  readonly #stopping = new AbortController();
  readonly #waker: Waker;
  readonly #runs = new Map<string, PendingRun>();
  #toldDigest: string | undefined;
  #toldAt = -Infinity;
  #toldSession: number | undefined;
  #rests: Readonly<Record<"report" | "runs", Rest>> = { report: RESTED, runs: RESTED };
  /** The session that the rests are of. */
  #restsOf: Session | undefined;
  #running: Promise<void> | undefined;

  constructor(deps: MachineTellerDeps) {
    this.#deps = deps;
    this.#waker = createWaker(deps.clock);
  }

  /** Nothing is told before. */
  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** The machine may have changed, or there is a session now. */
  wake(): void {
    this.#waker.wake();
  }

  /** Tells of a run, in time. Never fails. */
  tell({ runId, kind, steps, log }: ToldRun): void {
    const run = this.#runs.get(runId) ?? { kind, steps: new Map(), log: undefined, refusals: 0 };
    // The one told of last is the last to go.
    this.#runs.delete(runId);
    this.#runs.set(runId, run);
    for (const step of steps.map(fitStep)) {
      if (run.steps.has(step.id) || run.steps.size < MAX_STEPS_PER_RUN) {
        run.steps.set(step.id, step);
      }
    }
    run.log = log ?? run.log;
    for (const oldest of this.#runs.keys()) {
      if (this.#runs.size <= RUNS_MAX) break;
      this.#runs.delete(oldest);
      this.#deps.log.warn({ runId: oldest }, "start-up steps were never delivered, given up");
    }
    this.#waker.wake();
  }

  /** Runs that are not delivered. */
  unsent(): number {
    return this.#runs.size;
  }

  async #run(): Promise<void> {
    const { clock, limits } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const session = this.#deps.session();
      if (session !== undefined) {
        this.#noteSession(session);
        await this.#inTurn("report", () => this.#tellReport(session));
        await this.#inTurn("runs", () => this.#tellRuns(session));
        if (signal.aborted) return;
      }
      // A change is told at once, but not more often than is worth it.
      await this.#waker.wait(Math.max(1, this.#pauseMs(limits.machineLookMs)), signal);
      if (signal.aborted) return;
      const restMs = this.#toldAt + REPORT_REST_MS - clock.elapsed();
      if (restMs > 0 && !(await slept(clock, restMs, signal))) return;
    }
  }

  #pauseMs(usualMs: number): number {
    const now = this.#deps.clock.elapsed();
    const pauses = Object.values(this.#rests).map(({ notBefore }) =>
      notBefore > now ? notBefore - now : usualMs,
    );
    return Math.min(...pauses);
  }

  #noteSession(session: Session): void {
    const { machineId, session: number } = this.#restsOf ?? {};
    if (machineId === session.machineId && number === session.session) return;
    this.#restsOf = session;
    this.#rests = { report: { ...RESTED }, runs: { ...RESTED } };
  }

  async #inTurn(kind: "report" | "runs", tell: () => Promise<void>): Promise<void> {
    const rest = this.#rests[kind];
    if (this.#deps.clock.elapsed() < rest.notBefore) return;
    try {
      await tell();
      rest.failures = 0;
    } catch (err) {
      if (!this.#stopping.signal.aborted) this.#onFailed(kind, rest, err);
    }
  }

  #onFailed(kind: "report" | "runs", rest: Rest, err: unknown): void {
    const { clock, log, random } = this.#deps;
    rest.failures += 1;
    // One line tells of an outage, whatever it concerns.
    const isFirst = Object.values(this.#rests).every((one) => one === rest || one.failures === 0);
    const isNews = rest.failures === 1 && isFirst;
    if (isHoldfastError(err, "not_found")) {
      rest.notBefore = clock.elapsed() + UNKNOWN_REST_MS;
      if (isNews)
        log.info({ kind }, "this control plane is older and takes no reports of machines");
      return;
    }
    rest.notBefore = clock.elapsed() + backoffMs(BACKOFF, rest.failures, random);
    if (isNews) log.warn({ err, kind }, "what the machine is could not be told");
  }

  async #tellReport(session: Session): Promise<void> {
    const { clock, limits, link, log } = this.#deps;
    const own = this.#deps.report?.();
    if (own === undefined) return;
    const { agentVersion } = this.#deps;
    const report = fitReport({ ...own, agentVersion, fetches: [...this.#deps.fetches()] });
    const digest = significant(report);
    const isNews = digest !== this.#toldDigest || this.#toldSession !== session.session;
    if (!isNews && clock.elapsed() - this.#toldAt < limits.machineReportMs) return;
    const checked = machineReportSchema.safeParse(report);
    if (!checked.success) {
      this.#toldAt = clock.elapsed();
      log.error({ problem: checked.error.message }, "the machine's report is not one, left out");
      return;
    }
    await this.#within((signal) => link.putMachineReport({ ...session, report }, signal));
    this.#toldDigest = digest;
    this.#toldSession = session.session;
    this.#toldAt = clock.elapsed();
  }

  async #tellRuns(session: Session): Promise<void> {
    let refused: unknown;
    // What is told of meanwhile comes to the end, and its turn with it.
    for (const [runId, run] of this.#runs) {
      try {
        await this.#tellRun(session, runId, run);
      } catch (err) {
        if (isTransient(err) || reportRefusal(err) !== "certain") throw err;
        run.refusals += 1;
        // The others are not refused for it.
        if (run.refusals < REFUSALS_MAX) refused = err;
        else {
          this.#runs.delete(runId);
          this.#deps.log.error({ err, runId }, "start-up steps were refused, given up");
        }
      }
    }
    if (refused !== undefined) throw refused;
  }

  /** Sends the log of a run; false when it cannot be read, or is not what it was. */
  async #sendLog(source: BlobSource): Promise<boolean> {
    let isUnreadable = false;
    const open = async function* (): AsyncIterable<Uint8Array> {
      try {
        yield* source.open();
      } catch (err) {
        isUnreadable = true;
        throw err;
      }
    };
    try {
      await this.#within((signal) => this.#deps.link.putBlob({ ...source, open }, signal));
      return true;
    } catch (err) {
      if (!isUnreadable && !isHoldfastError(err, "checksum_mismatch")) throw err;
      this.#deps.log.warn({ err }, "the log of a start cannot be read, left out");
      return false;
    }
  }

  async #tellRun(session: Session, runId: string, run: PendingRun): Promise<void> {
    const { link } = this.#deps;
    const { kind } = run;
    let { log } = run;
    if (log !== undefined && !(await this.#sendLog(log))) {
      if (run.log === log) run.log = undefined;
      log = undefined;
    }
    do {
      const sent = [...run.steps.values()].slice(0, STEPS_PER_CALL);
      const named = log === undefined ? {} : { logSha256: log.sha256 };
      const request = { ...session, runId, kind, steps: sent, ...named };
      await this.#within((signal) => link.putStartupSteps(request, signal));
      // What was told anew meanwhile stays to be sent.
      for (const step of sent) if (run.steps.get(step.id) === step) run.steps.delete(step.id);
    } while (run.steps.size > 0);
    if (run.log === log) this.#runs.delete(runId);
  }

  async #within<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock } = this.#deps;
    const { signal } = this.#stopping;
    const late = new AbortController();
    const over = new AbortController();
    const onStop = (): void => late.abort(signal.reason);
    signal.addEventListener("abort", onStop, { once: true });
    clock.sleep(PIECE_MS, over.signal).then(
      () => late.abort(new Error("the control plane did not take it in time")),
      () => undefined, // It was in time.
    );
    try {
      return await call(late.signal);
    } finally {
      over.abort(OVER);
      signal.removeEventListener("abort", onStop);
    }
  }
}

const OVER = new Error("the call is over");

/** What of a report is news: free memory and the instants of checks change all the time. */
function significant(report: MachineReport): string {
  const { services, host: _, ...rest } = report;
  const told = services.map(({ name, kind, state, reason, installation, dependencies }) => [
    name,
    kind,
    state,
    reason,
    installation,
    dependencies,
  ]);
  return JSON.stringify([told, rest]);
}
