/** Leaves a release again on which instances do not become healthy. One at a time; see `release-trust.ts`. */
import type { AgentLog } from "@holdfast/agent";
import { assertNever, type Clock } from "@holdfast/runtime";
import type { Installer } from "../install/installer.ts";
import type { ReleaseFailure } from "../instances/supervisor-options.ts";
import {
  afterLeaving,
  afterLook,
  afterPlan,
  afterSwitch,
  decideLeave,
  NO_TRUST,
  type LookedInstance,
  type ReleaseTrust,
  type SeenInstances,
} from "./release-trust.ts";

/** What it is made of. */
export interface ReleaseKeeperOptions {
  readonly clock: Clock;
  readonly log: AgentLog;
  /** Of the manifest in force; undefined before there is one. */
  readonly installer: () => Pick<Installer, "rollback" | "status"> | undefined;
  /** Another release is linked now: brings what runs to it. */
  readonly refresh: (signal: AbortSignal) => Promise<void>;
  /** The instance that failed is left as it is; the next one has its turn. */
  readonly passOver: () => void;
}

/** Between two attempts while an installer is at work. */
const BUSY_REST_MS = 5_000;

/** See the head of this file. */
export class ReleaseKeeper {
  readonly #options: ReleaseKeeperOptions;
  readonly #stopping = new AbortController();
  #trust: ReleaseTrust = NO_TRUST;
  #work: Promise<void> = Promise.resolve();

  constructor(options: ReleaseKeeperOptions) {
    this.#options = options;
  }

  /**
   * Another release serves. To be told once what runs is held against it: that all were healthy on the
   * one before proves nothing.
   */
  switched(from: string | null, to: string, seen: SeenInstances): void {
    this.#trust = afterSwitch(this.#trust, { from, to, seen });
  }

  /** Names of the instances that are to run from now on. */
  planned(names: readonly string[]): void {
    this.#trust = afterPlan(this.#trust, names);
  }

  /** How all instances are on what serves: it may need no way back any more. Cheap. */
  looked(instances: readonly LookedInstance[]): void {
    this.#trust = afterLook(this.#trust, instances);
  }

  /** An instance did not become healthy on it. */
  failed(failure: ReleaseFailure): void {
    const { log } = this.#options;
    log.error({ ...failure }, "an instance did not become healthy on its release");
    this.#work = this.#work.then(() =>
      this.#leave(failure).catch((err: unknown) => {
        if (this.#stopping.signal.aborted) return;
        log.error({ err, release: failure.release }, "the release before could not be taken again");
      }),
    );
  }

  /** Nothing is left any more; resolves when nothing is on its way. */
  async end(): Promise<void> {
    this.#stopping.abort(new Error("the machine is being stopped"));
    await this.#work;
  }

  async #leave(failure: ReleaseFailure): Promise<void> {
    const { clock, log, refresh } = this.#options;
    const { signal } = this.#stopping;
    for (;;) {
      const installer = this.#options.installer();
      if (signal.aborted || installer === undefined) return;
      const { current } = await installer.status();
      const decision = decideLeave(this.#trust, failure.release, failure.instance);
      if (current !== failure.release || decision.kind === "keep") {
        log.warn({ release: failure.release, current }, "release is not left");
        return;
      }
      if (decision.kind === "pass_over") {
        const passed = decision.wasIll
          ? "instance was ill before, its release is not left for it"
          : "instance had not been healthy before, its release is not left for it";
        log.warn({ ...failure }, passed);
        this.#options.passOver();
        return;
      }
      // Written down with the reason: the manifest is held back until it asks for another release.
      const leaving = `${failure.instance}: ${failure.reason}`;
      const request = { from: failure.release, to: decision.to, leaving };
      const outcome = await installer.rollback(signal, request);
      switch (outcome.kind) {
        case "busy":
          await clock.sleep(BUSY_REST_MS, signal);
          break;
        case "nothing":
          if (outcome.serving === failure.release) throw new Error(outcome.reason);
          log.warn({ release: failure.release, current: outcome.serving }, "release is not left");
          return;
        case "rolled_back":
          log.error({ ...failure, to: outcome.to }, "release is left for the one before");
          await refresh(signal);
          this.#trust = afterLeaving(this.#trust, failure.release);
          return;
        default:
          assertNever(outcome);
      }
    }
  }
}
