/**
 * Brings the machine to the manifest in force, one after the other, and goes on trying. While one is
 * in force: what it asks for is installed, another release that is linked by hand serves at once, and
 * a manifest that somebody has applied meanwhile takes its place.
 */
import type { AgentLog } from "@holdfast/agent";
import { backoffMs, type Clock, type Random } from "@holdfast/runtime";
import type { Installer } from "../install/installer.ts";
import type { Installation } from "./installation.ts";
import type { InstallerParts } from "./installer-parts.ts";
import type { ManifestLook, ManifestWatch, ReadManifest } from "./manifest-watch.ts";
import { together } from "./together.ts";

/** What of a serving machine is brought to a manifest. */
export interface FollowingMachine {
  setManifest(
    applied: ReadManifest,
    parts: Pick<InstallerParts, "fetch" | "installer">,
    signal: AbortSignal,
  ): Promise<void>;
  refreshRelease(signal: AbortSignal): Promise<void>;
  dropFetcher(): Promise<void>;
}

/** What it is made of. */
export interface ManifestFollowerOptions {
  readonly manifests: Pick<ManifestWatch, "loadApplied" | "look">;
  /** Where the link to the serving release leads; empty when there is none. Never rejects. */
  readonly linked: () => Promise<string>;
  readonly installation: Pick<Installation, "note" | "refuse" | "untilInstalled">;
  /** Until the machine folder is this agent's; rejects with the signal's reason. */
  readonly own: (signal: AbortSignal) => Promise<void>;
  /** Made at the first manifest. */
  readonly serving: () => FollowingMachine;
  readonly makeParts: (applied: ReadManifest) => Promise<InstallerParts>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** Between two looks at manifest and link. */
  readonly watchEveryMs: number;
  /** What is in force, or what is to be said of it, has changed. */
  readonly onLook: (look: ManifestLook) => void;
  /** Why the machine cannot be brought to its manifest; null when that is over. */
  readonly onTrouble: (problem: string | null) => void;
}

/** What fails here is a disk, or a program that is not there: it may be mended at any time. */
const RETRY = { initialMs: 5_000, maxMs: 300_000, factor: 2, jitter: 0.2 };

/** See the head of this file. */
export class ManifestFollower {
  readonly #options: ManifestFollowerOptions;

  constructor(options: ManifestFollowerOptions) {
    this.#options = options;
  }

  /** Until the signal; never rejects. */
  async run(first: ManifestLook, signal: AbortSignal): Promise<void> {
    let look = first;
    while (!signal.aborted) {
      const changed = new AbortController();
      const over = AbortSignal.any([signal, changed.signal]);
      const serving = this.#keepServing(look.applied, over);
      const next = await this.#untilApplied(signal);
      changed.abort(new Error("another manifest is in force"));
      await serving;
      if (next === undefined) return;
      look = next;
      const { log, onLook } = this.#options;
      log.info({ manifest: look.applied?.digest ?? null }, "another manifest is in force");
      onLook(look);
    }
  }

  /** Never rejects; resolves when the signal is aborted, or there is nothing to do. */
  async #keepServing(applied: ReadManifest | null, signal: AbortSignal): Promise<void> {
    const { clock, random, log, installation, onTrouble } = this.#options;
    installation.note({ isConfigured: applied !== null });
    if (applied === null) return;
    await this.#options.own(signal).catch(() => undefined); // It is over then.
    for (let failures = 1; !signal.aborted; failures += 1) {
      try {
        await this.#serve(applied, signal);
      } catch (err) {
        if (signal.aborted) return;
        const pauseMs = Math.round(backoffMs(RETRY, failures, random));
        const message = err instanceof Error ? err.message : String(err);
        log.error({ err, pauseMs }, "the machine cannot be brought to its manifest");
        installation.refuse(message, Math.round(clock.now()) + pauseMs);
        onTrouble(message);
        await clock.sleep(pauseMs, signal).catch(() => undefined);
      }
    }
  }

  async #serve(applied: ReadManifest, signal: AbortSignal): Promise<void> {
    const { makeParts, onTrouble } = this.#options;
    // Before it is looked at which release that is: a change from now on is noticed.
    const link = await this.#options.linked();
    const parts = await makeParts(applied);
    const machine = this.#options.serving();
    try {
      await machine.setManifest(applied, parts, signal);
      onTrouble(null);
      await together(
        signal,
        (over) => this.#install(parts.installer, machine, over),
        (over) => this.#followLink(link, machine, over),
      );
    } finally {
      await machine.dropFetcher();
      await parts.close();
    }
  }

  async #install(
    installer: Installer,
    machine: FollowingMachine,
    signal: AbortSignal,
  ): Promise<void> {
    const onRelease = (): Promise<void> => machine.refreshRelease(signal);
    await this.#options.installation.untilInstalled(installer, onRelease, signal);
  }

  /** Another release serves as soon as the link says so: somebody updated or went back by hand. */
  async #followLink(before: string, machine: FollowingMachine, signal: AbortSignal): Promise<void> {
    const { clock, watchEveryMs, linked } = this.#options;
    for (let seen = before; ;) {
      await clock.sleep(watchEveryMs, signal);
      const now = await linked();
      if (now === seen) continue;
      seen = now;
      await machine.refreshRelease(signal);
    }
  }

  /** The next manifest that is applied; undefined when the signal came first. */
  async #untilApplied(signal: AbortSignal): Promise<ManifestLook | undefined> {
    const { clock, watchEveryMs, manifests, log, onLook } = this.#options;
    let told: readonly string[] | undefined;
    while (!signal.aborted) {
      await clock.sleep(watchEveryMs, signal).catch(() => undefined);
      if (signal.aborted) return undefined;
      try {
        const applied = await manifests.loadApplied();
        if (applied !== undefined) return applied;
        const look = await manifests.look();
        if (look.problems !== told) onLook(look);
        told = look.problems;
      } catch (err) {
        log.warn({ err }, "manifest could not be looked at");
      }
    }
    return undefined;
  }
}
