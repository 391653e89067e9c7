/** `holdfast sla check`: what a Holdfast delivered against what is promised. */
import { judgeSla } from "@holdfast/load";
import { systemClock } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { apiClientFor, type ClientOptions } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import { liveSlaFacts } from "./live-facts.ts";
import { readTargets } from "./read-targets.ts";
import { toSlaStatus } from "./sla-status.ts";
import { liveLines, verdictLines } from "./sla-text.ts";

/** The options of `sla check`. */
export interface CheckOptions extends ClientOptions {
  readonly targets?: string;
  /** ms */
  readonly last: number;
  readonly json?: boolean;
}

/** A failed percentage of zero allows nothing: the server is asked for the least that it takes. */
const LEAST_PERCENT = 0.000001;

/** Runs the command: exit code 1 where a target is breached. */
export async function runCheck(options: CheckOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const sla = await readTargets(options.targets);
  const to = systemClock.now();
  const query = new URLSearchParams({
    from: new Date(to - options.last).toISOString(),
    to: new Date(to).toISOString(),
    budgetDays: String(sla.budgetDays),
    failedPercentMax: Math.max(LEAST_PERCENT, sla.targets.failedPercentMax ?? 100).toFixed(6),
  });
  const status = toSlaStatus(
    await apiClientFor(options, context).json(`/api/v1/sla?${query.toString()}`),
  );
  const verdict = judgeSla(sla.targets, liveSlaFacts(status));
  if (options.json === true) {
    terminal.line(JSON.stringify({ verdict, sla, live: status }));
  } else {
    const columns = terminal.resultColumns;
    const lines = [...verdictLines(verdict, columns), "", ...liveLines(status, columns)];
    for (const line of lines) terminal.line(line);
  }
  process.exitCode = verdict.state === "breached" ? EXIT.failed : EXIT.ok;
}
