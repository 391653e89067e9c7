import { systemClock } from "@holdfast/runtime/system";
import type { Terminal } from "../terminal/terminal.ts";
import { listenForStop } from "../up/stop-signals.ts";
import type { ExperimentLog } from "./experiment-log.ts";

/** A deliverer that gets on with it is waited for so long at the end. */
const DELIVERY_MS = 60_000;
const DELIVERY_LOOK_MS = 2_000;

/** MLflow that does not answer is not waited for: what is on the disk is delivered later. */
export async function deliverLog(
  log: ExperimentLog,
  { terminal, folder }: { readonly terminal: Terminal; readonly folder: string },
): Promise<void> {
  const stop = listenForStop(terminal, () => undefined);
  try {
    const endsAt = systemClock.elapsed() + DELIVERY_MS;
    let left = await log.flush(DELIVERY_LOOK_MS, stop.signal);
    const mayComeYet = (): boolean => left.pending > 0 && left.trouble === undefined;
    while (mayComeYet() && systemClock.elapsed() < endsAt && !stop.signal.aborted) {
      terminal.progress(`telling MLflow, ${left.pending} records left`);
      left = await log.flush(DELIVERY_LOOK_MS, stop.signal);
    }
    terminal.progress("");
    if (left.pending > 0) {
      const why = left.trouble === undefined ? "" : ` (${left.trouble})`;
      terminal.note(
        `MLflow does not have ${left.pending} records yet${why}: holdfast experiment sync ${folder}`,
      );
    }
    if (left.setAside > 0) {
      terminal.note(`MLflow refused ${left.setAside} records for good: ${left.setAsideFile}`);
    }
  } finally {
    stop.release();
  }
}
