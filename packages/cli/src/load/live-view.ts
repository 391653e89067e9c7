/** How a run goes, while it goes: a screen where somebody watches, else a line now and then. */
import { mebibytesText, type LoadCollector, type StopReason } from "@holdfast/load";
import type { Clock } from "@holdfast/runtime";
import { durationText } from "../terminal/durations.ts";
import type { Screen } from "../terminal/screen.ts";
import type { Terminal } from "../terminal/terminal.ts";
import type { DriverState } from "./driver.ts";
import { millisecondsText, percentText } from "./figures.ts";
import type { CardReading } from "./load-target.ts";

/** How a run stands, for whoever watches. */
export interface LiveFacts {
  readonly title: string;
  readonly elapsedMs: number;
  /** Null where the run has a time and no number. */
  readonly asked: number | null;
  readonly driver: DriverState;
  readonly measured: ReturnType<LoadCollector["measured"]>;
  readonly cards: readonly CardReading[];
  readonly stop: StopReason | null;
}

const SCREEN_EVERY_MS = 500;
const LINE_EVERY_MS = 10_000;
const BAR_LENGTH = 30;

/** Shows it until the signal is aborted. `screen` is null where no screen is drawn. */
export async function showLive(
  facts: () => LiveFacts,
  {
    terminal,
    screen,
    clock,
    signal,
  }: {
    readonly terminal: Pick<Terminal, "note">;
    readonly screen: Screen | null;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const everyMs = screen === null ? LINE_EVERY_MS : SCREEN_EVERY_MS;
  while (
    await clock.sleep(everyMs, signal).then(
      () => true,
      () => false,
    )
  ) {
    if (screen === null) terminal.note(liveLine(facts()));
    else screen.draw(liveLines(facts()));
  }
}

/** All of it in one line. */
export function liveLine(facts: LiveFacts): string {
  const { measured, driver, cards, elapsedMs } = facts;
  const { jobs, phases, throughputPerMinute, successRate } = measured;
  const total = phases.total;
  const ended = jobs.begun;
  const parts = [
    `${durationText(elapsedMs)}: ${ended}${facts.asked === null ? "" : ` of ${facts.asked}`} ended`,
    `${driver.inFlight} in flight`,
    ...(throughputPerMinute === null ? [] : [`${throughputPerMinute.toFixed(1)}/min`]),
    ...(total === null
      ? []
      : [`p50 ${millisecondsText(total.p50)}`, `p95 ${millisecondsText(total.p95)}`]),
    `success ${percentText(successRate)}`,
    ...cards.flatMap(({ gpu, utilisationPercent }) =>
      utilisationPercent === null ? [] : [`GPU ${gpu} ${utilisationPercent} %`],
    ),
  ];
  return parts.join(", ");
}

/** A screen of it. */
export function liveLines(facts: LiveFacts): readonly string[] {
  const { measured, driver, cards, asked, stop } = facts;
  const { jobs, phases, errors } = measured;
  const others = jobs.failed + jobs.timedOut + jobs.refused;
  const share = asked === null || asked === 0 ? null : jobs.begun / asked;
  const row = (name: "submit" | "queue" | "execute" | "total"): readonly string[] => {
    const found = phases[name];
    if (found === null) return [];
    const values = [found.p50, found.p95, found.p99].map((ms) => millisecondsText(ms).padStart(10));
    return [`  ${name.padEnd(8)}${values.join("")}`];
  };
  return [
    facts.title,
    "",
    ...(share === null ? [] : [`[${bar(share)}] ${percentText(Math.round(share * 100) / 100)}`]),
    `${jobs.begun}${asked === null ? "" : ` of ${asked}`} ended, ${driver.inFlight} in flight (level ${driver.level}), ${durationText(facts.elapsedMs)}`,
    `${measured.throughputPerMinute?.toFixed(1) ?? "-"} jobs/min, ${jobs.completed} completed, ${others} not, ${measured.retries} retries`,
    "",
    `  phase   ${["p50", "p95", "p99"].map((head) => head.padStart(10)).join("")}`,
    ...row("submit"),
    ...row("queue"),
    ...row("execute"),
    ...row("total"),
    ...cards.map(
      ({ gpu, utilisationPercent: use, memoryUsedMb }) =>
        `GPU ${gpu}: ${use === null ? "use not told" : `[${bar(use / 100)}] ${use} %`}, ${mebibytesText(memoryUsedMb)}`,
    ),
    ...errors
      .slice(0, 3)
      .map(({ class: name, count, example }) => `${count} × ${name}: ${example}`),
    ...(stop === null ? [] : ["no other job begins; those in flight go on to their ends"]),
    "Ctrl-C ends the run, with a report of what was measured",
  ];
}

function bar(share: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * BAR_LENGTH);
  return "#".repeat(full).padEnd(BAR_LENGTH, ".");
}
