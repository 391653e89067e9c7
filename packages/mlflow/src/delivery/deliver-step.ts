/**
 * Carries out one step of a run. Whatever was done before and is done again here does no harm: the same
 * metric (key, step, time, value), param or tag is kept once, an artifact is replaced by itself.
 */
import { isAbsolute, resolve } from "node:path";
import { assertNever, type Clock } from "@holdfast/runtime";
import type { MlflowClient } from "../client/client.ts";
import { tellTrouble, type MlflowTrouble } from "../client/trouble.ts";
import type { KnownRun, Progress } from "../journal/progress.ts";
import type { ArtifactRecord, DataRecord, EndRecord } from "../journal/record.ts";
import type { SetAsideEntry } from "../journal/set-aside.ts";
import { entriesOf, toBatch, type Entry, type Item, type Step } from "./batch.ts";
import { isAboutRun, type Experiment } from "./experiment.ts";
import type { Identity, RunIdentities } from "./run-identity.ts";

/** What became of a step. */
export type StepOutcome =
  /** Its records are dealt with: delivered, but for those that were refused for good. */
  | {
      readonly kind: "done";
      readonly refused: readonly SetAsideEntry[];
      /** Whether MLflow was asked, and so is known to be there. */
      readonly wasAsked: boolean;
    }
  /** Nothing of it counts as done; MLflow may have some of it. */
  | { readonly kind: "trouble"; readonly trouble: MlflowTrouble }
  /** Another run has to be made first, or a double of this one may yet come. */
  | { readonly kind: "wait" };

/** How to carry out a step. */
export interface StepContext {
  readonly client: MlflowClient;
  readonly identities: RunIdentities;
  readonly experiment: Experiment;
  readonly progress: Progress;
  readonly clock: Clock;
  /** What relative paths of files are relative to. */
  readonly folder: string;
  readonly isInherited: (segment: number) => boolean;
  /**
   * That MLflow fails (5xx) at this step counts as a refusal: it has failed at it again and again while
   * others of its kind went through.
   */
  readonly isPatienceOver: boolean;
  readonly signal: AbortSignal;
}

/** Does it. Rejects only when the signal is aborted. */
export async function deliverStep(step: Step, context: StepContext): Promise<StepOutcome> {
  const { identities, isInherited, signal } = context;
  const [first] = itemsOf(step);
  if (first === undefined) return { kind: "done", refused: [], wasAsked: false };
  const { key } = first.record;
  const wasKnown = context.progress.run(key) !== undefined;
  const start = step.kind === "start" ? { start: step.item.record } : {};
  const inherited = isInherited(first.position.segment);
  const identity = await identities.resolve(key, { ...start, isInherited: inherited }, signal);
  if (identity.kind !== "run") return await withoutRun(step, identity, context);
  const { run } = identity;
  switch (step.kind) {
    case "start":
      return { kind: "done", refused: [], wasAsked: !wasKnown };
    case "data":
      return await deliverData(run, step.items, context);
    case "artifact":
      return await deliverArtifact(run, step.item, context);
    case "end":
      return await deliverEnd(run, step.item, context);
    default:
      return assertNever(step);
  }
}

/** The records of a step. */
export function itemsOf(step: Step): readonly Item[] {
  return step.kind === "data" ? step.items : [step.item];
}

async function withoutRun(
  step: Step,
  identity: Exclude<Identity, { kind: "run" }>,
  context: StepContext,
): Promise<StepOutcome> {
  switch (identity.kind) {
    case "parent_pending":
      return { kind: "wait" };
    case "none":
      return allRefused(itemsOf(step), "no run was begun in MLflow for this key");
    default:
      return await judge(identity, itemsOf(step), context);
  }
}

/** Trouble with a step that cannot be told by its entries. */
async function judge(
  trouble: MlflowTrouble,
  items: readonly Item[],
  context: StepContext,
): Promise<StepOutcome> {
  if (trouble.kind === "refused") {
    const elsewhere = await experimentTrouble(trouble, context);
    if (elsewhere !== undefined) return { kind: "trouble", trouble: elsewhere };
    return allRefused(items, tellTrouble(trouble));
  }
  if (trouble.kind === "failed" && context.isPatienceOver) {
    return allRefused(items, tellTrouble(trouble));
  }
  return { kind: "trouble", trouble };
}

/**
 * Whether a refusal to make a run is about the experiment: a deleted one takes no run until somebody
 * restores it. One that is gone is made anew.
 */
async function experimentTrouble(
  refusal: Extract<MlflowTrouble, { kind: "refused" }>,
  { experiment, signal }: StepContext,
): Promise<MlflowTrouble | undefined> {
  const { message } = refusal;
  if (!isAboutRun(refusal) || !/experiment/i.test(message)) return undefined;
  experiment.forget();
  const found = await experiment.id(signal);
  if (found.kind !== "ok") return found;
  // It is there, or there again: what was refused is worth another try.
  return { kind: "failed", status: 404, message, retryAfterMs: null };
}

async function deliverData(
  run: KnownRun,
  items: readonly Item<DataRecord>[],
  context: StepContext,
): Promise<StepOutcome> {
  const entries = entriesOf(items);
  if (entries.length === 0) return { kind: "done", refused: [], wasAsked: false };
  const sent = await sendEntries(run, entries, context);
  if ("trouble" in sent) return { kind: "trouble", trouble: sent.trouble };
  const failed = sent.refused.filter(({ trouble }) => trouble.kind === "failed");
  // All of several failed: then it is not the fault of one of them.
  if (failed.length > 1 && failed.length === entries.length && failed[0] !== undefined) {
    return { kind: "trouble", trouble: failed[0].trouble };
  }
  return {
    kind: "done",
    wasAsked: true,
    refused: sent.refused.map(({ entry, trouble }) => ({
      position: entry.item.position,
      entry: entry.name,
      reason: tellTrouble(trouble),
      record: {
        t: "data",
        key: entry.item.record.key,
        params: [],
        tags: [],
        metrics: [],
        ...entry.part,
      },
    })),
  };
}

interface RefusedEntry {
  readonly entry: Entry;
  readonly trouble: MlflowTrouble;
}

/** Sends entries together; what is refused is halved until the ones that it is about stand alone. */
async function sendEntries(
  run: KnownRun,
  entries: readonly Entry[],
  context: StepContext,
): Promise<{ readonly refused: readonly RefusedEntry[] } | { readonly trouble: MlflowTrouble }> {
  const { client, experiment, signal } = context;
  const result = await experiment.callOfRun(
    () => client.logBatch(run.id, toBatch(entries), signal),
    signal,
  );
  if (result.kind === "ok") return { refused: [] };
  const isFinal = result.kind === "refused" || (result.kind === "failed" && context.isPatienceOver);
  if (!isFinal) return { trouble: result };
  if (isAboutRun(result)) {
    return { refused: entries.map((entry) => ({ entry, trouble: result })) };
  }
  const [only] = entries;
  if (entries.length === 1 && only !== undefined) {
    return { refused: [{ entry: only, trouble: result }] };
  }
  const middle = Math.ceil(entries.length / 2);
  const first = await sendEntries(run, entries.slice(0, middle), context);
  if ("trouble" in first) return first;
  const second = await sendEntries(run, entries.slice(middle), context);
  if ("trouble" in second) return second;
  return { refused: [...first.refused, ...second.refused] };
}

async function deliverArtifact(
  run: KnownRun,
  item: Item<ArtifactRecord>,
  context: StepContext,
): Promise<StepOutcome> {
  const { path, file } = item.record;
  if (run.folder === null) {
    return allRefused(
      [item],
      `MLflow keeps the artifacts of this run at ${run.elsewhere || "no address"}, where only its own clients reach: serve them (mlflow server --serve-artifacts)`,
      false,
    );
  }
  const source = isAbsolute(file) ? file : resolve(context.folder, file);
  const upload = { folder: run.folder, path, file: source };
  const result = await context.client.putArtifact(upload, context.signal);
  switch (result.kind) {
    case "ok":
      return { kind: "done", refused: [], wasAsked: true };
    case "no_file":
      return allRefused([item], result.message, false);
    default:
      return await judge(result, [item], context);
  }
}

async function deliverEnd(
  run: KnownRun,
  item: Item<EndRecord>,
  context: StepContext,
): Promise<StepOutcome> {
  const { client, identities, experiment, progress, signal } = context;
  const { key, status, at } = item.record;
  if (identities.mayBeDoubled(run)) return { kind: "wait" };
  const result = await experiment.callOfRun(
    () => client.updateRun(run.id, { status, endedAt: at }, signal),
    signal,
  );
  if (result.kind !== "ok") return await judge(result, [item], context);
  if (run.isDoubtful) {
    const trouble = await identities.removeDoubles(key, run, signal);
    if (trouble !== undefined && trouble.kind !== "refused") return { kind: "trouble", trouble };
  }
  progress.forget(key);
  return { kind: "done", refused: [], wasAsked: true };
}

function allRefused(items: readonly Item[], reason: string, wasAsked = true): StepOutcome {
  return {
    kind: "done",
    wasAsked,
    refused: items.map(({ position, record }) => ({ position, reason, record })),
  };
}
