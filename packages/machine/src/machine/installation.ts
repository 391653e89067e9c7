/**
 * Brings the machine to what its manifest says, and goes on trying: what fails is tried again with
 * pauses, and what served before serves meanwhile.
 */
import type { AgentLog, ToldRun } from "@holdfast/agent";
import { assertNever, backoffMs, type Clock, type Random } from "@holdfast/runtime";
import type { InstallOutcome, Installer } from "../install/installer.ts";
import type { InstallEvent } from "../install/model.ts";
import type { ReleaseHold } from "../install/release/release-hold.ts";
import type { InstallationStatus, ServiceSource } from "../services/model.ts";
import {
  comfyuiInstallation,
  installerFacts,
  outcomeProblem,
  progressWords,
  type InstallationPhase,
  type InstallerSight,
} from "./installation-words.ts";
import { RunTelling } from "./told-run.ts";

/** Name of the installer among the services. */
export const INSTALLER_SERVICE = "installer";

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
/** Between two looks whether another installer has ended. It is no failure: somebody is at work. */
const BUSY_REST_MS = 5_000;
/** Longest text that says what is going on. */
const DETAIL_MAX = 500;

/** What became of one try. */
type Tried =
  | { readonly kind: "installed"; readonly warnings: readonly string[] }
  | { readonly kind: "busy"; readonly holder: string }
  | { readonly kind: "failed"; readonly reason: string };

/** See the head of this file. */
export class Installation {
  readonly #options: InstallationOptions;
  #phase: InstallationPhase = { kind: "waiting" };
  #isConfigured = false;
  /** Id of the release that serves; null also before it was looked at. */
  #serving: string | null = null;
  #hold: ReleaseHold | null = null;
  #damage: string | null = null;
  #logFile: string | null = null;

  constructor(options: InstallationOptions) {
    this.#options = options;
  }

  /** What it is told of: whether there is a manifest, which release serves, and against what. */
  note(facts: Partial<InstallerSight>): void {
    const { isConfigured = this.#isConfigured, serving = this.#serving } = facts;
    const { hold = this.#hold, damage = this.#damage } = facts;
    const isNews =
      isConfigured !== this.#isConfigured ||
      serving !== this.#serving ||
      hold?.at !== this.#hold?.at ||
      damage !== this.#damage;
    if (hold !== null && hold.at !== this.#hold?.at) {
      this.#options.log.warn({ ...hold }, "manifest is held back, the release before serves on");
    }
    if (damage !== null && damage !== this.#damage) {
      this.#options.log.error({ reason: damage }, "release that is held is damaged");
    }
    this.#damage = damage;
    this.#isConfigured = isConfigured;
    this.#serving = serving;
    this.#hold = hold;
    if (isNews) this.#options.onChange();
  }

  /** It does not work, for a reason that is not an installation's own. `retryAt`: epoch ms. */
  refuse(reason: string, retryAt: number | null = null): void {
    this.#set({ kind: "failed", reason, retryAt });
  }

  /**
   * Installs until it has worked; resolves then. Rejects with the signal's reason, or with what
   * `onRelease` rejects with: that is called after each try, whatever became of it, for another
   * release may serve now.
   */
  async untilInstalled(
    installer: Installer,
    onRelease: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, random, log } = this.#options;
    for (let failures = 0; ;) {
      const tried = await this.#once(installer, signal);
      signal.throwIfAborted();
      await onRelease();
      switch (tried.kind) {
        case "installed":
          this.#set({ kind: "installed", warnings: tried.warnings });
          return;
        case "busy":
          this.#installing(`another installer is at work: ${tried.holder}`);
          await clock.sleep(BUSY_REST_MS, signal);
          break;
        case "failed": {
          failures += 1;
          const pauseMs = Math.round(backoffMs(RETRY, failures, random));
          const retryAt = Math.round(clock.now()) + pauseMs;
          this.#set({ kind: "failed", reason: tried.reason, retryAt });
          log.error(
            { reason: tried.reason, pauseMs },
            "installation failed; it is tried again after a pause",
          );
          await clock.sleep(pauseMs, signal);
          break;
        }
        default:
          assertNever(tried);
      }
    }
  }

  /** The installer among the services. */
  source(): ServiceSource {
    return {
      name: INSTALLER_SERVICE,
      kind: "installer",
      dependsOn: [],
      facts: () =>
        installerFacts(this.#phase, {
          isConfigured: this.#isConfigured,
          serving: this.#serving,
          hold: this.#hold,
          damage: this.#damage,
        }),
      details: () => ({
        phase: this.#phase.kind,
        release: this.#serving,
        hold: this.#hold,
        damage: this.#damage,
        ...(this.#phase.kind === "failed" ? { retryAt: this.#phase.retryAt } : {}),
        ...(this.#phase.kind === "installed" ? { warnings: this.#phase.warnings } : {}),
      }),
      logFiles: () => (this.#logFile === null ? [] : [this.#logFile]),
    };
  }

  /** Of ComfyUI; see {@link comfyuiInstallation}. */
  status(): InstallationStatus {
    return comfyuiInstallation(this.#phase, this.#serving);
  }

  async #once(installer: Installer, signal: AbortSignal): Promise<Tried> {
    this.#installing("looking at what is there");
    const { clock, log, onEvent, tellRun } = this.#options;
    const runId = `install-${Math.round(clock.now())}`;
    const kind = this.#serving === null ? "install" : "update";
    const telling = new RunTelling({ runId, kind }, tellRun);
    const titles = new Map<string, string>();
    let outcome: InstallOutcome;
    try {
      outcome = await installer.install({
        signal,
        onEvent: (event) => {
          this.#onEvent(event, titles);
          if (event.kind === "step.ended") telling.step(event.result);
          onEvent?.(event);
        },
      });
    } catch (error) {
      signal.throwIfAborted();
      log.error({ err: error }, "installer failed");
      await telling.end(null);
      return { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
    if (outcome.kind === "busy") return { kind: "busy", holder: outcome.holder };
    if ("logFile" in outcome) this.#logFile = outcome.logFile;
    await telling.end(this.#logFile);
    if (outcome.kind === "installed") return { kind: "installed", warnings: outcome.warnings };
    return { kind: "failed", reason: outcomeProblem(outcome) };
  }

  #onEvent(event: InstallEvent, titles: Map<string, string>): void {
    switch (event.kind) {
      case "step.started":
        titles.set(event.id, event.title);
        this.#installing(event.title);
        return;
      case "step.progress": {
        const title = titles.get(event.id) ?? event.id;
        this.#installing(`${title}: ${progressWords(event.progress)}`);
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

  #installing(text: string): void {
    const detail = text.slice(0, DETAIL_MAX);
    // Bytes come in by the thousand pieces; what is told changes a hundred times.
    if (this.#phase.kind === "installing" && this.#phase.detail === detail) return;
    this.#set({ kind: "installing", detail });
  }

  #set(phase: InstallationPhase): void {
    this.#phase = phase;
    this.#options.onChange();
  }
}
