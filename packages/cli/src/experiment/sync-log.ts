import { join } from "node:path";
import { openRunLog, tellTrouble } from "@holdfast/mlflow";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { readSettings } from "../up/settings.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { eventText, MLFLOW_FOLDER } from "./mlflow-log.ts";
import { mlflowTarget } from "./mlflow-target.ts";
import type { SyncOptions } from "./options.ts";
import { requireExperiment } from "./require-experiment.ts";

/** Between two looks at how much is left. */
const LOOK_MS = 2_000;
const DEFAULT_TIMEOUT_MS = 10 * 60_000;

/** `holdfast experiment sync`: brings to MLflow what it does not have yet. */
export async function syncLog(
  path: string,
  options: SyncOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const folder = await requireExperiment(path);
  const target = mlflowTarget(options.mlflow, readSettings({}, context));
  if (target === undefined) {
    throw new CommandFailure(EXIT.refused, "expected --mlflow URL, or MLFLOW_TRACKING_URI");
  }
  const opened = await openRunLog({
    folder: join(folder, MLFLOW_FOLDER),
    target,
    clock: systemClock,
    random: systemRandom,
    onEvent: (event) => terminal.note(eventText(event)),
  });
  if (opened.kind !== "open") {
    const words =
      opened.kind === "locked"
        ? `process ${opened.pid} delivers it already`
        : opened.kind === "no_log"
          ? "it was never run with --mlflow or MLFLOW_TRACKING_URI"
          : opened.kind === "unusable"
            ? opened.message
            : `it is told to ${opened.found}`;
    throw new CommandFailure(EXIT.refused, `${folder}: ${words}`);
  }
  const { log } = opened;
  const stop = listenForStop(terminal, () => undefined);
  try {
    const endsAt = systemClock.elapsed() + (options.timeout ?? DEFAULT_TIMEOUT_MS);
    let status = await log.flush({ timeoutMs: LOOK_MS, signal: stop.signal });
    while (status.kind === "pending" && systemClock.elapsed() < endsAt && !stop.signal.aborted) {
      terminal.progress(`${status.pending} records left`);
      status = await log.flush({ timeoutMs: LOOK_MS, signal: stop.signal });
    }
    terminal.progress("");
    const { pending, setAside, setAsideFile, trouble } = status;
    if (options.json === true) {
      const words = trouble === undefined ? null : tellTrouble(trouble);
      terminal.line(JSON.stringify({ pending, setAside, setAsideFile, trouble: words }));
    } else if (pending === 0) terminal.line("MLflow has everything");
    else {
      const why = trouble === undefined ? "" : `: ${tellTrouble(trouble)}`;
      terminal.note(`${pending} records are still to be delivered${why}`);
    }
    if (setAside > 0) terminal.note(`MLflow refused ${setAside} for good: ${setAsideFile}`);
    process.exitCode = pending > 0 || setAside > 0 ? EXIT.failed : EXIT.ok;
  } finally {
    stop.release();
    await log.close();
  }
}
