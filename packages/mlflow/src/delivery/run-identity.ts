/**
 * Which run of MLflow's belongs to a key: known, found, or made.
 *
 * R1  A run has a tag that only this key of this journal has. Whenever a run may be there without our
 *     knowing (an answer was lost, or another process had begun), it is searched for before one is made.
 * R2  A request that we gave up may be carried out after our search. Of a run that was ever in such doubt,
 *     doubles are looked for again when it ends, and those that we did not log to are deleted. It ends no
 *     sooner than {@link LATE_MS} after the last such request.
 */
import { createHash } from "node:crypto";
import type { Clock } from "@holdfast/runtime";
import type { FoundRun, MlflowClient } from "../client/client.ts";
import type { MlflowTrouble } from "../client/trouble.ts";
import type { KnownRun, Progress } from "../journal/progress.ts";
import type { StartRecord } from "../journal/record.ts";
import type { Experiment } from "./experiment.ts";
import { createKeyFilter } from "./key-filter.ts";

/** The tag that makes runs found again. */
const TOKEN_TAG = "holdfast.token";
const PARENT_TAG = "mlflow.parentRunId";
/** So long after we gave it up MLflow may still carry out a request. */
const LATE_MS = 10_000;

/** What became of the question which run it is. */
export type Identity =
  | { readonly kind: "run"; readonly run: KnownRun }
  /** None is there, and no record says that one began. */
  | { readonly kind: "none" }
  /** Its parent has begun, and is not made yet. */
  | { readonly kind: "parent_pending" }
  | MlflowTrouble;

/** Finds out, and makes. */
export interface RunIdentities {
  /** With `start` a run is made when there is none; `isInherited`: an earlier process may have made it. */
  resolve(
    key: string,
    facts: { readonly start?: StartRecord; readonly isInherited: boolean },
    signal: AbortSignal,
  ): Promise<Identity>;
  /** Whether a double of a run may still come to be, so that it should not end yet; see R2. */
  mayBeDoubled(run: KnownRun): boolean;
  /** Deletes doubles of a run that ended; see R2. */
  removeDoubles(
    key: string,
    run: KnownRun,
    signal: AbortSignal,
  ): Promise<MlflowTrouble | undefined>;
}

/** What it needs. */
export interface IdentityOptions {
  readonly client: MlflowClient;
  readonly progress: Progress;
  readonly experiment: Experiment;
  readonly journalId: string;
  readonly clock: Clock;
  /** Earlier processes logged to this journal: a run that begins may have begun, and ended, before. */
  readonly isResumed: boolean;
  /** Whether records of this run wait, so that it may yet be made. */
  readonly isWaiting: (key: string) => boolean;
}

/** Makes the {@link RunIdentities}. */
export function createRunIdentities(options: IdentityOptions): RunIdentities {
  const { client, progress, experiment, clock } = options;
  /** Keys for which a run was asked for: it may be there, also when no answer said so, and after it ended. */
  const asked = createKeyFilter();
  /** When a request for a run was last given up, of whatever key; an earlier process may have just died. */
  let givenUpAt = options.isResumed ? clock.elapsed() : Number.NEGATIVE_INFINITY;

  const search = (key: string, experimentId: string, signal: AbortSignal) => {
    const value = tokenOf(options.journalId, key);
    return client.findRuns({ experimentId, tag: TOKEN_TAG, value }, signal);
  };
  const learn = (key: string, found: FoundRun, isDoubtful: boolean): Identity => {
    const run = toKnownRun(found, isDoubtful);
    progress.learn(key, run);
    asked.add(key);
    return { kind: "run", run };
  };
  const resolve: RunIdentities["resolve"] = async (key, { start, isInherited }, signal) => {
    const known = progress.run(key);
    if (known !== undefined) {
      asked.add(key);
      return { kind: "run", run: known };
    }
    const place = await experiment.id(signal);
    if (place.kind !== "ok") return place;
    const isInDoubt = isInherited || asked.mayHave(key);
    if (isInDoubt || options.isResumed || start === undefined) {
      const found = await search(key, place.value, signal);
      if (found.kind !== "ok") return found;
      const run = chooseRun(found.value);
      if (run !== undefined) {
        const trouble = start === undefined ? undefined : await runAgain(options, run, signal);
        return trouble ?? learn(key, run, true);
      }
    }
    if (start === undefined) return { kind: "none" };
    const parent = await parentOf(start, signal);
    if (parent.kind !== "run" && parent.kind !== "none") return parent;
    const tags = [{ key: TOKEN_TAG, value: tokenOf(options.journalId, key) }];
    if (parent.kind === "run") tags.push({ key: PARENT_TAG, value: parent.run.id });
    // Whatever comes of it: a search costs less than a second run.
    asked.add(key);
    const { name, at: startedAt } = start;
    const made = await client.createRun(
      { experimentId: place.value, name, startedAt, tags },
      signal,
    );
    if (made.kind === "ok") return learn(key, made.value, isInDoubt);
    if (made.kind !== "unreachable" || made.isSent) givenUpAt = clock.elapsed();
    return made;
  };
  async function parentOf({ parent }: StartRecord, signal: AbortSignal): Promise<Identity> {
    if (parent === undefined) return { kind: "none" };
    const isToCome = progress.run(parent) === undefined && options.isWaiting(parent);
    if (isToCome) return { kind: "parent_pending" };
    return await resolve(parent, { isInherited: true }, signal);
  }

  return {
    resolve,
    mayBeDoubled: ({ isDoubtful }) => isDoubtful && clock.elapsed() - givenUpAt < LATE_MS,
    async removeDoubles(key, run, signal) {
      const place = await experiment.id(signal);
      if (place.kind !== "ok") return place;
      const found = await search(key, place.value, signal);
      if (found.kind !== "ok") return found;
      for (const { id } of found.value) {
        if (id === run.id) continue;
        const deleted = await client.deleteRun(id, signal);
        if (deleted.kind !== "ok" && deleted.kind !== "refused") return deleted;
      }
      return undefined;
    },
  };
}

/** A run that had ended, and begins again, runs again. */
async function runAgain(
  { client, experiment }: IdentityOptions,
  run: FoundRun,
  signal: AbortSignal,
): Promise<MlflowTrouble | undefined> {
  if (run.status === "RUNNING") return undefined;
  const changed = await experiment.callOfRun(
    () => client.updateRun(run.id, { status: "RUNNING" }, signal),
    signal,
  );
  return changed.kind === "ok" ? undefined : changed;
}

function toKnownRun({ id, artifactRoot: root }: FoundRun, isDoubtful: boolean): KnownRun {
  return root.kind === "served"
    ? { id, folder: root.folder, elsewhere: "", isDoubtful }
    : { id, folder: null, elsewhere: root.uri, isDoubtful };
}

/** Of several, the one that was logged to; the same one whenever it is asked. */
function chooseRun(runs: readonly FoundRun[]): FoundRun | undefined {
  return runs.toSorted(
    (a, b) => b.entryCount - a.entryCount || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0),
  )[0];
}

/** What the tag of a key holds: nothing that a filter would have to quote. */
function tokenOf(journalId: string, key: string): string {
  return createHash("sha256").update(`${journalId}\n${key}`).digest("hex").slice(0, 32);
}
