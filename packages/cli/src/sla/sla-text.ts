/** A verdict on an SLA in lines. Pure. */
import type { SlaStatus } from "@holdfast/contract";
import {
  measuredText,
  shortNumber,
  SLA_METRIC_WORDS,
  stateText,
  targetText,
  type SlaVerdict,
} from "@holdfast/load";
import { factLines } from "../fleet/fact-line.ts";
import { durationText } from "../terminal/durations.ts";
import { textTable } from "../terminal/text-table.ts";

const STATE_WORDS: Readonly<Record<SlaVerdict["state"], string>> = {
  met: "MET: every target is",
  breached: "BREACHED",
  incomplete: "NOT BREACHED: what was measured is met, and something was not measured",
};

/** The verdict and its metrics. */
export function verdictLines({ state, metrics }: SlaVerdict, columns: number): readonly string[] {
  const missed = metrics.filter((one) => one.state === "breached");
  const by = missed.map(({ metric }) => SLA_METRIC_WORDS[metric].name).join(", ");
  const isNothing = metrics.every(({ measured }) => measured === null);
  const words = isNothing ? "NOTHING MEASURED" : STATE_WORDS[state];
  const head = `${words}${by === "" ? "" : ` by ${by}`}`;
  const rows = textTable(
    metrics,
    [
      { head: "METRIC", cell: ({ metric }) => SLA_METRIC_WORDS[metric].name },
      { head: "TARGET", cell: targetText },
      { head: "MEASURED", cell: ({ metric, measured }) => measuredText(metric, measured) },
      { head: "STATE", cell: stateText },
    ],
    columns,
  );
  return [head, "", ...rows];
}

/** What a Holdfast delivered, and how its error budget stands. */
export function liveLines(status: SlaStatus, columns: number): readonly string[] {
  const { totals, budget, losses, from, to } = status;
  const { completed, recovered, failed, timedOut, cancelled, outputs } = totals;
  const spanMs = Date.parse(to) - Date.parse(from);
  const perMinute = outputs / (spanMs / 60_000);
  const left =
    budget.leftShare === null
      ? "nothing ended yet"
      : `${shortNumber(budget.leftShare * 100)} % left of ${budget.failedPercentMax} % in ${budget.days} days (${budget.failed} of ${budget.ended} failed)`;
  const open = losses.filter((one) => one.refilledAt === null && one.leftAt === null);
  return [
    ...factLines("Time", `${durationText(spanMs)} until ${to}`, columns),
    ...factLines(
      "Delivered",
      `${outputs} files of ${completed} jobs (${shortNumber(perMinute)} a minute), ${recovered} of them recovered; ${failed} failed, ${timedOut} out of time, ${cancelled} cancelled`,
      columns,
    ),
    ...factLines("Error budget", left, columns),
    ...budget.windows
      .filter((one) => one.longBurn !== null)
      .flatMap((one) =>
        factLines(
          "",
          `last ${durationText(one.longMs)}: ${shortNumber(one.longBurn ?? 0)} times as fast as allowed, last ${durationText(one.shortMs)}: ${one.shortBurn === null ? "nothing ended" : shortNumber(one.shortBurn)}${one.isBurning ? ` BURNING (from ${one.burnRate}: ${one.urgency})` : ""}`,
          columns,
        ),
      ),
    ...factLines(
      "Lost",
      losses.length === 0
        ? "no machine and no instance"
        : `${losses.length} machines and instances, ${open.length} of them not back`,
      columns,
    ),
  ];
}
