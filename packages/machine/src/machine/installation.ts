/**
 * Brings the machine to what its manifest says, and goes on trying: what fails is tried again with
 * pauses, and what served before serves meanwhile.
 */
import { createReadStream } from "node:fs";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { AgentLog, ToldRun } from "@holdfast/agent";
import { assertNever, backoffMs, type Clock, type Random } from "@holdfast/runtime";
import type { InstallOutcome, Installer } from "../install/installer.ts";
import type { InstallEvent, StepResult } from "../install/model.ts";
import { NO_CHECK, NOTHING_INSTALLED, NOT_RUNNING } from "../services/fixed-facts.ts";
import type { InstallationStatus, ServiceFacts, ServiceSource } from "../services/model.ts";

/** Name of the installer among the services. */
export const INSTALLER_SERVICE = "installer";

/** Where the installation stands. */
export type InstallationPhase =
  | { readonly kind: "waiting" }
  | { readonly kind: "installing"; readonly detail: string }
  | { readonly kind: "installed"; readonly warnings: readonly string[] }
  | { readonly kind: "failed"; readonly reason: string; readonly retryAt: number | null };

/** What it is made of. */
export interface InstallationOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** Something that is shown has changed. */
  readonly onChange: () => void;
  readonly onEvent: ((event: InstallEvent) => void) | undefined;
  /** How a run goes, for the control plane. */
  readonly tellRun: (run: ToldRun) => void;
}

/** A network that is away comes back; a manifest that is wrong is tried seldom. */
const RETRY = { initialMs: 30_000, maxMs: 900_000, factor: 2, jitter: 0.2 };
/** Longest text that says what is going on. */
const DETAIL_MAX = 500;
/** A log beyond this is not sent. */
const LOG_MAX_BYTES = 64 * 1024 * 1024;

/** See the head of this file. */
export class Installation {
  readonly #options: InstallationOptions;
  #phase: InstallationPhase = { kind: "waiting" };
  #isConfigured = false;
  /** Id of the release that serves. */
  #serving: string | null = null;
  #logFile: string | null = null;
  #failures = 0;

  constructor(options: InstallationOptions) {
    this.#options = options;
  }

  phase(): InstallationPhase {
    return this.#phase;
  }

  /** There is a manifest; and which release serves, which is as it was when that is not said. */
  note(facts: { readonly isConfigured: boolean; readonly serving?: string | null }): void {
    this.#isConfigured = facts.isConfigured;
    if (facts.serving !== undefined) this.#serving = facts.serving;
    this.#options.onChange();
  }

  /** What is wrong before an installation could begin: nothing is installed until that is mended. */
  refuse(reason: string): void {
    this.#set({ kind: "failed", reason, retryAt: null });
  }

  /**
   * Installs until it has worked; resolves then. Rejects with the signal's reason. `onRelease` is
   * called after each try, whatever became of it: another release may serve now.
   */
  async untilInstalled(
    installer: Installer,
    onRelease: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, random, log } = this.#options;
    for (;;) {
      const problem = await this.#once(installer, signal);
      signal.throwIfAborted();
      await onRelease();
      if (problem === null) {
        this.#failures = 0;
        return;
      }
      this.#failures += 1;
      const pauseMs = backoffMs(RETRY, this.#failures, random);
      const retryAt = Math.round(clock.now() + pauseMs);
      this.#set({ kind: "failed", reason: problem, retryAt });
      log.error({ reason: problem, pauseMs }, "installation failed; it is tried again");
      await clock.sleep(pauseMs, signal);
    }
  }

  /** The installer among the services. */
  source(): ServiceSource {
    return {
      name: INSTALLER_SERVICE,
      kind: "installer",
      dependsOn: [],
      facts: () => this.#facts(),
      details: () => ({
        phase: this.#phase.kind,
        release: this.#serving,
        ...(this.#phase.kind === "failed" ? { retryAt: this.#phase.retryAt } : {}),
        ...(this.#phase.kind === "installed" ? { warnings: this.#phase.warnings } : {}),
      }),
      logFiles: () => (this.#logFile === null ? [] : [this.#logFile]),
    };
  }

  /** Of ComfyUI: what an older release is worth while a newer one is made or has failed. */
  status(): InstallationStatus {
    const phase = this.#phase;
    if (this.#serving !== null) {
      return { state: "installed", detail: null, version: this.#serving };
    }
    switch (phase.kind) {
      case "installing":
        return { state: "installing", detail: phase.detail, version: null };
      case "failed":
        return { state: "broken", detail: phase.reason, version: null };
      case "waiting":
      case "installed":
        return { state: "missing", detail: null, version: null };
      default:
        return assertNever(phase);
    }
  }

  #facts(): ServiceFacts {
    const isConfigured = this.#isConfigured;
    const base = { isConfigured, installation: NOTHING_INSTALLED };
    const phase = this.#phase;
    const running = { ...NOT_RUNNING, state: "running" as const };
    switch (phase.kind) {
      case "waiting":
        return {
          ...base,
          runtime: { ...NOT_RUNNING, state: "starting", detail: "not looked at yet" },
          check: NO_CHECK,
        };
      case "installing":
        return {
          ...base,
          runtime: { ...NOT_RUNNING, state: "starting", detail: phase.detail },
          check: NO_CHECK,
        };
      case "installed":
        return { ...base, runtime: running, check: NO_CHECK };
      case "failed":
        return {
          ...base,
          runtime: running,
          check: { state: "failing", detail: phase.reason, checkedAt: null },
        };
      default:
        return assertNever(phase);
    }
  }

  /** One try; null when it worked, else why not. */
  async #once(installer: Installer, signal: AbortSignal): Promise<string | null> {
    this.#set({ kind: "installing", detail: "looking at what is there" });
    const titles = new Map<string, string>();
    const runId = `install-${Math.round(this.#options.clock.now())}`;
    const told: StepResult[] = [];
    const onEvent = (event: InstallEvent): void => {
      this.#onEvent(event, titles);
      if (event.kind === "step.ended") told.push(event.result);
      this.#options.onEvent?.(event);
    };
    let outcome: InstallOutcome;
    try {
      outcome = await installer.install({ signal, onEvent });
    } catch (error) {
      signal.throwIfAborted();
      this.#options.log.error({ err: error }, "installer failed");
      return (error as Error).message;
    }
    if ("logFile" in outcome) this.#logFile = outcome.logFile;
    // A run that found everything done is no news to anybody.
    const isNews = outcome.kind !== "installed" || outcome.isChanged;
    if (isNews && told.length > 0) await this.#tell(runId, told);
    if (outcome.kind === "installed") {
      this.#set({ kind: "installed", warnings: outcome.warnings });
      return null;
    }
    return problemOf(outcome);
  }

  #onEvent(event: InstallEvent, titles: Map<string, string>): void {
    switch (event.kind) {
      case "step.started":
        titles.set(event.id, event.title);
        this.#set({ kind: "installing", detail: event.title });
        return;
      case "step.progress": {
        const title = titles.get(event.id) ?? event.id;
        this.#set({ kind: "installing", detail: `${title}: ${progressText(event.progress)}` });
        return;
      }
      case "started":
      case "step.log":
      case "step.ended":
      case "ended":
        return;
      default:
        assertNever(event);
    }
  }

  async #tell(runId: string, results: readonly StepResult[]): Promise<void> {
    const steps = results.map(toStartupStep);
    const log = this.#logFile === null ? undefined : await logSource(this.#logFile);
    this.#options.tellRun({
      runId,
      kind: this.#serving === null ? "install" : "update",
      steps,
      ...(log === undefined ? {} : { log }),
    });
  }

  #set(phase: InstallationPhase): void {
    this.#phase =
      phase.kind === "installing" ? { ...phase, detail: phase.detail.slice(0, DETAIL_MAX) } : phase;
    this.#options.onChange();
  }
}

/** A step's result as the control plane takes it. */
function toStartupStep(result: StepResult): ToldRun["steps"][number] {
  const { id, title, outcome, startedAt, durationMs, detail, advice, isOptional } = result;
  return { id, title, outcome, startedAt, durationMs, detail, advice, isOptional };
}

function progressText(progress: { done: number; total: number | null; unit: string }): string {
  const { done, total, unit } = progress;
  if (total !== null && total > 0) return `${Math.floor((100 * done) / total)} %`;
  return unit === "bytes" ? `${Math.floor(done / 1_000_000)} MB` : String(done);
}

function problemOf(outcome: Exclude<InstallOutcome, { kind: "installed" }>): string {
  switch (outcome.kind) {
    case "busy":
      return `another installer is at work: ${outcome.holder}`;
    case "refused":
      return outcome.plan.problems
        .map(({ subject, message, advice }) => `${subject}: ${message} ${advice}`)
        .join("; ");
    case "failed":
    case "aborted": {
      const failed = outcome.results.filter(
        (result) => result.outcome === "failed" && !result.isOptional,
      );
      return failed.length === 0
        ? "stopped before its end"
        : failed
            .map(({ title, detail, advice }) => `${title}: ${detail} ${advice ?? ""}`.trim())
            .join("; ");
    }
    default:
      return assertNever(outcome);
  }
}

/** The log's bytes by their hash; undefined when there is none to be had. */
async function logSource(file: string): Promise<ToldRun["log"] | undefined> {
  const bytes = await readFile(file).catch(() => undefined);
  if (bytes === undefined || bytes.byteLength > LOG_MAX_BYTES) return undefined;
  return {
    sha256: createHash("sha256").update(bytes).digest("hex"),
    sizeBytes: bytes.byteLength,
    open: () => createReadStream(file, { end: Math.max(0, bytes.byteLength - 1) }),
  };
}
