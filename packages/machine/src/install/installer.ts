/**
 * The installer of a machine: plans, makes releases, switches between them, cleans up.
 *
 * I1. A release that serves is replaced by one that is complete and validated, or not at all.
 * I2. What changes the installation holds the install lock; a plan with problems changes nothing.
 * I3. Killed at any instant, the same call goes on where it stopped.
 */
import { mkdir, readFile } from "node:fs/promises";
import { assertNever } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import type { Release } from "../instances/model.ts";
import { openInstallLog } from "./install-log.ts";
import type { InstallerOptions } from "./installer-options.ts";
import { releaseDigest } from "../manifest/manifest-digest.ts";
import type { InstallEvent, MachineLock, StepResult } from "./model.ts";
import { endOrphans, markRuns } from "./orphans.ts";
import type { InstallPlan } from "./plan-install.ts";
import { findHold, prepareInstall, servingLock, uvTool, type RunMode } from "./prepare-install.ts";
import { createRedact } from "./redact.ts";
import { cleanUp, findUsedByProcesses, type Cleaned } from "./release/clean-releases.ts";
import { heldDamage } from "./release/held-damage.ts";
import { removeHold, writeHold, type ReleaseHold } from "./release/release-hold.ts";
import { openReleases, toRelease, type ReleaseEntry, type Releases } from "./release/releases.ts";
import { makeLink, repositoryLinks } from "./release/repository-links.ts";
import { createRunProgram, type RunProgram } from "./run-program.ts";
import { runSteps } from "./run-steps.ts";
import { pruneUvCache } from "./uv-cache.ts";

/** How an installation is asked for. */
export interface InstallRequest {
  /** Asks for every ref anew; else a branch stays where it was installed. */
  readonly update?: boolean;
  /** Looks thoroughly at everything that seems done, and validates again. */
  readonly verify?: boolean;
  /**
   * Goes by the manifest though it is held back; so does an update, unless it comes to the release that
   * the machine itself has left. The hold ends when it worked.
   */
  readonly endHold?: boolean;
  readonly signal: AbortSignal;
  readonly onEvent?: (event: InstallEvent) => void;
}

/** Another installer is at work on this machine. */
export interface Busy {
  readonly kind: "busy";
  /** In words, with the process. */
  readonly holder: string;
}

/** What an installation came to. */
export type InstallOutcome =
  | {
      readonly kind: "installed";
      /** The release that serves; null on a machine without ComfyUI. */
      readonly release: string | null;
      /** Something was done. */
      readonly isChanged: boolean;
      readonly results: readonly StepResult[];
      /** The manifest is held back, and the release before serves on; null when it is not. */
      readonly hold: ReleaseHold | null;
      readonly warnings: readonly string[];
      readonly logFile: string;
    }
  | {
      /** `aborted`: stopped from outside. What served before serves. */
      readonly kind: "failed" | "aborted";
      readonly serving: string | null;
      readonly results: readonly StepResult[];
      readonly logFile: string;
    }
  /** The plan has problems; nothing was changed. */
  | { readonly kind: "refused"; readonly plan: InstallPlan }
  | Busy;

/** How a way back is asked for. */
export interface RollbackRequest {
  /** Release that is to be left: when another one serves by the time of the lock, nothing is done. */
  readonly from?: string;
  /** Release to go back to; else the one that served before. */
  readonly to?: string;
  /** Why the machine leaves by itself what serves; else somebody asks for it. */
  readonly leaving?: string;
}

/** How cleaning is asked for. */
export interface CleanRequest {
  readonly isDryRun?: boolean;
}

/** What going back came to. */
export type RollbackOutcome =
  | {
      readonly kind: "rolled_back";
      readonly from: string | null;
      readonly to: string;
      /** What keeps the manifest from undoing it; null when it asks for no other release. */
      readonly hold: ReleaseHold | null;
    }
  | {
      readonly kind: "nothing";
      readonly reason: string;
      /** Release that serves on; null when none does. */
      readonly serving: string | null;
    }
  | Busy;

/** What is installed. */
export interface InstallationSummary {
  readonly lock: MachineLock | null;
  readonly current: string | null;
  readonly previous: string | null;
  readonly releases: readonly ReleaseEntry[];
  /** The manifest is held back since a rollback; null when it is not. */
  readonly hold: ReleaseHold | null;
  /** What is damaged of the release that serves by it, and what to do; null when nothing is, or none is held. */
  readonly damage: string | null;
  /** Process that changes the installation now; null when none does. */
  readonly busyPid: number | null;
}

/** The installer of one machine, for one manifest. */
export interface Installer {
  /** What an installation would do; changes nothing but the cache of git. */
  plan(
    request: Pick<InstallRequest, "endHold" | "signal" | "update" | "verify">,
  ): Promise<InstallPlan>;
  install(request: InstallRequest): Promise<InstallOutcome>;
  /**
   * Makes the release before serve again, and holds the manifest back that asks for the newer one;
   * once more, and it is undone. The signal ends only the waiting for another installer.
   */
  rollback(signal: AbortSignal, request?: RollbackRequest): Promise<RollbackOutcome>;
  /** Removes what nobody needs. With `isDryRun` it lists that and changes nothing, whoever is at work. */
  clean(signal: AbortSignal, request?: CleanRequest): Promise<Cleaned | Busy>;
  status(): Promise<InstallationSummary>;
  /** What instances are started from; undefined when nothing serves. */
  current(): Promise<Release | undefined>;
}

/** Makes the {@link Installer} of a machine folder. */
export function createInstaller(options: InstallerOptions): Installer {
  const { places, clock, ports, manifest } = options;
  const releases = openReleases(places);
  const run = ports.runProgram ?? createRunProgram(clock);
  return {
    async plan(request) {
      const lifetime = new AbortController();
      try {
        const mode = toMode(request, lifetime.signal);
        return (await prepareInstall(options, releases, markRuns(run, "plan"), mode)).plan;
      } finally {
        lifetime.abort();
      }
    },
    install: (request) =>
      alone(options, request.signal, () =>
        install(options, releases, markRuns(run, "install"), request),
      ),
    rollback: (signal, request = {}) =>
      alone(options, signal, () => rollback(options, releases, request)),
    clean: (signal, { isDryRun = false } = {}) => {
      const cleaning = (): Promise<Cleaned> => clean(options, releases, run, { isDryRun, signal });
      return isDryRun ? cleaning() : alone(options, signal, cleaning);
    },
    async status() {
      const lock = (await servingLock(releases)) ?? null;
      const hold = await findHold(options, releases);
      return {
        lock,
        current: (await releases.currentId()) ?? null,
        previous: (await releases.previousId()) ?? null,
        releases: await releases.list(),
        hold,
        damage: hold === null || lock === null ? null : await heldDamage(releases, lock),
        busyPid: await lockHolder(places.installLock),
      };
    },
    async current() {
      const lock = await servingLock(releases);
      if (lock === undefined) return undefined;
      return toRelease(lock, releases.folder(lock.release), {
        extraModelPaths: ports.extraModelPaths?.() ?? null,
        // What an optional pack would have brought was not there when the release was validated.
        promised: manifest.nodes
          .flatMap(({ classes }) => classes)
          .filter((name) => lock.nodeClasses.includes(name)),
      });
    },
  };
}

function toMode(
  {
    update = false,
    verify = false,
    endHold = false,
    signal,
  }: Pick<InstallRequest, "endHold" | "signal" | "update" | "verify">,
  lifetime: AbortSignal,
): RunMode {
  return { isUpdate: update, isThorough: verify, isHoldEnded: endHold, signal, lifetime };
}

/** Runs what changes the installation (I2), or tells who is at it. */
async function alone<T>(
  options: InstallerOptions,
  signal: AbortSignal,
  fn: () => Promise<T>,
): Promise<T | Busy> {
  const { places, clock, settings } = options;
  await mkdir(places.root, { recursive: true });
  let isIn = false;
  try {
    const lock = { clock, timeoutMs: settings.lockWaitMs, signal };
    return await withFileLock(places.installLock, lock, async () => {
      isIn = true;
      const ended = await endOrphans(places.root, clock);
      if (ended > 0) options.log.warn({ ended }, "ended programs that an installation left");
      return await fn();
    });
  } catch (error) {
    // The lock's own time limit; everything else of it is a disk that cannot be written.
    if (isIn || !/ is held by process /.test((error as Error).message)) throw error;
    return { kind: "busy", holder: (error as Error).message };
  }
}

async function lockHolder(path: string): Promise<number | null> {
  const text = await readFile(path, "utf8").catch(() => "{}");
  try {
    const { pid } = JSON.parse(text) as { readonly pid?: unknown };
    return typeof pid === "number" ? pid : null;
  } catch {
    return null;
  }
}

async function install(
  options: InstallerOptions,
  releases: Releases,
  run: RunProgram,
  request: InstallRequest,
): Promise<InstallOutcome> {
  const { signal } = request;
  const { places, clock, log } = options;
  const lifetime = new AbortController();
  try {
    const mode = toMode(request, lifetime.signal);
    const { plan, steps } = await prepareInstall(options, releases, run, mode);
    if (plan.problems.length > 0) {
      log.error({ problems: plan.problems }, "installation refused");
      return { kind: "refused", plan };
    }
    for (const warning of plan.warnings) log.warn({ warning }, "installation warning");
    if (plan.isNewRelease) await removeHalfBuilt(options, releases, plan.releaseId);
    const file = await openInstallLog(places.installLogs, clock);
    try {
      const outcome = await runSteps(steps, {
        clock,
        signal,
        redact: createRedact(options.settings.secrets),
        onEvent(event) {
          file.write(event);
          request.onEvent?.(event);
        },
      });
      const { results } = outcome;
      const serving = (await releases.currentId()) ?? null;
      if (!outcome.ok) {
        const kind = outcome.isAborted ? "aborted" : "failed";
        logFailures(options, results);
        return { kind, serving, results, logFile: file.file };
      }
      const isChanged = results.some(({ outcome }) => outcome === "done");
      log.info({ release: serving, isChanged }, "installed");
      const { warnings, hold } = plan;
      // The manifest was gone by: what was held back of it, or of another one, is over.
      if (hold === null) await removeHold(places.releaseHold);
      const logFile = file.file;
      return { kind: "installed", release: serving, isChanged, results, hold, warnings, logFile };
    } finally {
      await file.close();
    }
  } finally {
    lifetime.abort();
  }
}

function logFailures({ log }: InstallerOptions, results: readonly StepResult[]): void {
  for (const { id, outcome, detail, advice } of results) {
    switch (outcome) {
      case "failed":
        log.error({ step: id, detail, advice }, "installation step failed");
        break;
      case "skipped":
      case "done":
      case "not_reached":
        break;
      default:
        assertNever(outcome);
    }
  }
}

async function clean(
  options: InstallerOptions,
  releases: Releases,
  run: RunProgram,
  { isDryRun, signal }: { readonly isDryRun: boolean; readonly signal: AbortSignal },
): Promise<Cleaned> {
  const { places, ports, manifest, settings, clock } = options;
  const inForce = (await ports.manifestInForce?.()) ?? null;
  return await cleanUp({
    places,
    releases,
    manifests: [manifest, ...(inForce === null ? [] : [inForce])],
    findUsed: ports.findUsed ?? findUsedByProcesses,
    clock,
    isDryRun,
    pruneUvCache: () =>
      pruneUvCache({
        machineRoot: places.root,
        hostEnvironment: settings.hostEnvironment,
        run,
        uv: uvTool(options, run),
        isDryRun,
        signal,
      }),
  });
}

/** Half-built releases of earlier tries make room for the new one; nothing runs from them. */
async function removeHalfBuilt(
  { ports }: InstallerOptions,
  releases: Releases,
  target: string | null,
): Promise<void> {
  const half = (await releases.list()).filter(
    ({ id, lock, isCurrent }) => lock === null && id !== target && !isCurrent,
  );
  const find = ports.findUsed ?? findUsedByProcesses;
  const used =
    half.length === 0 ? new Set() : await find(half.map(({ id }) => releases.folder(id)));
  for (const { id } of half) if (!used.has(releases.folder(id))) await releases.remove(id);
}

async function rollback(
  options: InstallerOptions,
  releases: Releases,
  request: RollbackRequest,
): Promise<RollbackOutcome> {
  const { places, manifest, log } = options;
  const from = (await releases.currentId()) ?? null;
  const nothing = (reason: string): RollbackOutcome => ({ kind: "nothing", reason, serving: from });
  // Whoever held the lock before may have linked what mends the one that was to be left.
  if (request.from !== undefined && request.from !== from) {
    return nothing("another release serves by now");
  }
  const to = request.to ?? (await releases.previousId());
  if (to === undefined || to === from) return nothing("there is no release before this one");
  const lock = await releases.lockOf(to);
  if (lock === undefined) return nothing(`the release before, ${to}, is not there any more`);
  const links = repositoryLinks(
    places,
    lock.repositories.map(({ name, commit }) => ({
      name,
      commit,
      linkTo: manifest.repositories.find((entry) => entry.name === name)?.linkTo ?? null,
    })),
  );
  const hold = await nextHold(options, releases, request, { from, to });
  // Before the switch: until then it does not count, and a kill between leaves no switch unheld.
  if (hold !== null) await writeHold(places.releaseHold, hold);
  for (const link of links) await makeLink(places, link);
  await releases.switchTo(to);
  if (hold === null) await removeHold(places.releaseHold);
  log.info({ from, to, by: hold?.by ?? null, reason: hold?.reason ?? null }, "rolled back");
  return { kind: "rolled_back", from, to, hold };
}

/** What is to be held back from now on; null when the way goes to what the manifest asks for. */
async function nextHold(
  options: InstallerOptions,
  releases: Releases,
  { leaving }: RollbackRequest,
  { from, to }: Pick<ReleaseHold, "from" | "to">,
): Promise<ReleaseHold | null> {
  const { clock, manifest, ports } = options;
  if ((await findHold(options, releases))?.from === to) return null;
  // The file may have been edited since; neither it nor what is in force is to undo this.
  const inForce = (await ports.manifestInForce?.()) ?? null;
  const held = [manifest, ...(inForce === null ? [] : [inForce])].map(releaseDigest);
  return {
    version: 1,
    manifests: [...new Set(held)],
    from,
    to,
    at: Math.round(clock.now()),
    by: leaving === undefined ? "operator" : "machine",
    reason: leaving ?? null,
  };
}
