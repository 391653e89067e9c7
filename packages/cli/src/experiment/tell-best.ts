import { join } from "node:path";
import { openRunLog, tellTrouble, type TrackingTarget } from "@holdfast/mlflow";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { readSettings } from "../up/settings.ts";
import type { BestOfExperiment } from "./folder/best-file.ts";
import type { ReadFolder } from "./folder/read-folder.ts";
import { MLFLOW_FOLDER } from "./mlflow-log.ts";
import { mlflowTarget } from "./mlflow-target.ts";

/** Tag of a run that is marked: why. Empty once it is not any more. */
const BEST_TAG = "holdfast.best";
/** MLflow is waited for so long; what it does not have by then is on the disk. */
const DELIVERY_MS = 3_000;

/**
 * Tells the MLflow of an experiment which runs are marked now. That it cannot be told is said, and no
 * failure: the mark is in the folder.
 */
export async function tellBest(
  { path, about }: ReadFolder,
  before: BestOfExperiment,
  after: BestOfExperiment,
  context: CommandContext,
): Promise<void> {
  const changed = changedTags(before, after);
  if (about.mlflow === null || changed.size === 0) return;
  const { terminal } = context;
  try {
    const target = targetOf(about.mlflow, context);
    if (target === undefined) return;
    const told = await tell(join(path, MLFLOW_FOLDER), target, changed);
    if (told !== undefined) terminal.note(`${told}: holdfast experiment sync ${path}`);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    terminal.note(`MLflow is not told: ${error.message}`);
  }
}

/** Its address as it is now, credentials and all, where the settings have one; else that of the last run. */
function targetOf(lastUrl: string, context: CommandContext): TrackingTarget | undefined {
  const settings = readSettings({}, context);
  return mlflowTarget(undefined, settings) ?? mlflowTarget(lastUrl, settings);
}

/** Why it is not told yet; undefined where it is, or where the experiment never had a log for it. */
async function tell(
  folder: string,
  target: TrackingTarget,
  tags: ReadonlyMap<string, string>,
): Promise<string | undefined> {
  const opened = await openRunLog({ folder, target, clock: systemClock, random: systemRandom });
  switch (opened.kind) {
    case "open":
      break;
    case "no_log":
      return undefined;
    case "locked":
      return `MLflow is not told of the mark: process ${opened.pid} delivers to it`;
    default:
      return "MLflow is not told of the mark";
  }
  const { log } = opened;
  try {
    for (const [name, why] of tags) {
      const kept = await log.tags(name, { [BEST_TAG]: why });
      if (kept.kind !== "kept") return `MLflow is not told of the mark: ${kept.message}`;
    }
    const { kind, trouble } = await log.flush({ timeoutMs: DELIVERY_MS });
    if (kind === "delivered") return undefined;
    const words = trouble === undefined ? "" : ` (${tellTrouble(trouble)})`;
    return `MLflow is not told of the mark yet${words}`;
  } finally {
    await log.close();
  }
}

/** By run: why it is marked, of those for which that is new. */
function changedTags(
  before: BestOfExperiment,
  after: BestOfExperiment,
): ReadonlyMap<string, string> {
  const names = new Set([...before.marks, ...after.marks].map(({ name }) => name));
  const whyOf = ({ marks }: BestOfExperiment, name: string): string =>
    marks.flatMap((mark) => (mark.name === name ? [mark.why] : [])).join("; ");
  return new Map(
    [...names].flatMap((name) => {
      const why = whyOf(after, name);
      return why === whyOf(before, name) ? [] : [[name, why] as const];
    }),
  );
}
