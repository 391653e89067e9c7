/** `holdfast fleet breaker --replay`: what the breaker says over a file of events, without a server. */
import { open } from "node:fs/promises";
import { text } from "node:stream/consumers";
import {
  DEFAULT_BREAKER_POLICY,
  lookAtBreaker,
  percent,
  rateText,
  readReplay,
  reasonText,
  type BreakerPolicy,
  type BreakerState,
  type BreakerView,
} from "@holdfast/fleet";
import { systemClock } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import {
  PAST_WORDS,
  readMinimum,
  readPast,
  readThreshold,
  readWindow,
  type LeverReading,
} from "./lever-values.ts";

/** Flags as they are given. */
export interface BreakerReplayOptions {
  readonly replay: string;
  readonly at?: string;
  readonly threshold?: string;
  readonly windowMinutes?: string;
  readonly minimum?: string;
  readonly clearBefore?: string;
  readonly json?: boolean;
}

const MS_PER_MINUTE = 60_000;
/** The last instant that a date holds. */
const INSTANT_MS_MAX = 8.64e15;
const BYTES_MAX = 1024 ** 3;

/** As the command prints them. */
const STATE_WORDS: Readonly<Record<BreakerState, string>> = {
  closed: "closed",
  open: "open",
  half_open: "half-open",
};

/** Exits 0 whatever the breaker says; 2 for a flag, a setting or a line that cannot be read. */
export async function replayBreakerFile(
  options: BreakerReplayOptions,
  context: CommandContext,
): Promise<void> {
  const now = systemClock.now();
  const at = readInstant("--at", options.at, now) ?? now;
  const policy = readPolicy(options, context.env, at);
  const reading = readReplay(await readEvents(options.replay));
  if (reading.kind === "invalid") {
    const problems = reading.problems.map((problem) => `${options.replay}: ${problem}`);
    throw new CommandFailure(EXIT.refused, problems.join("\n"));
  }
  if (reading.lifespans.length === 0) {
    context.terminal.note(`${options.replay}: no events were found in it`);
  }
  const { view } = lookAtBreaker(reading.lifespans, policy, at);
  if (options.json === true) context.terminal.line(JSON.stringify(toResult(view, policy)));
  else explain(view, policy, context.terminal);
}

/** Flags before the environment before the defaults. Throws with every problem. */
function readPolicy(
  options: BreakerReplayOptions,
  env: CommandContext["env"],
  at: number,
): BreakerPolicy {
  const problems: string[] = [];
  const read = (
    reader: (text: string, name: string) => LeverReading,
    { flag, given, name }: { flag: string; given: string | undefined; name: string },
    byDefault: number,
  ): number => {
    const text = given ?? env[name] ?? "";
    if (given === undefined && text === "") return byDefault;
    const reading = reader(text, given === undefined ? name : flag);
    if (reading.kind === "ok") return Number(reading.value);
    problems.push(reading.message);
    return byDefault;
  };
  const { threshold, windowMs, minimum } = DEFAULT_BREAKER_POLICY;
  const policy = {
    threshold: read(
      readThreshold,
      { flag: "--threshold", given: options.threshold, name: "MAX_WORKER_FAILURE_RATE" },
      threshold,
    ),
    windowMs:
      read(
        readWindow,
        { flag: "--window-minutes", given: options.windowMinutes, name: "FAILURE_WINDOW_MINUTES" },
        windowMs / MS_PER_MINUTE,
      ) * MS_PER_MINUTE,
    minimum: read(
      readMinimum,
      { flag: "--minimum", given: options.minimum, name: "MIN_WORKERS_FOR_RATE_CHECK" },
      minimum,
    ),
    clearedBefore: readInstant("--clear-before", options.clearBefore, at) ?? null,
  };
  if (policy.clearedBefore !== null && policy.clearedBefore > at) {
    problems.push(
      "--clear-before: expected no instant after the one that is looked at: failures to come are not cleared beforehand",
    );
  }
  if (problems.length > 0) throw new CommandFailure(EXIT.refused, problems.join("\n"));
  return policy;
}

/** An instant, or so long before `now`. */
function readInstant(flag: string, given: string | undefined, now: number): number | undefined {
  if (given === undefined) return undefined;
  const instant = readPast(given, now);
  // Beyond what a date can hold it could not be shown.
  if (instant !== undefined && Math.abs(instant) <= INSTANT_MS_MAX) return instant;
  throw new CommandFailure(
    EXIT.refused,
    `${flag}: expected ${PAST_WORDS}, or epoch ms, found ${JSON.stringify(given)}`,
  );
}

async function readEvents(path: string): Promise<string> {
  if (path === "-") return await text(process.stdin);
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > BYTES_MAX) throw new Error(`expected at most ${BYTES_MAX} bytes, found ${size}`);
    return await file.readFile("utf8");
  } catch (error) {
    throw new CommandFailure(
      EXIT.refused,
      `--replay: ${path} cannot be read: ${(error as Error).message}`,
    );
  }
}

function toResult(view: BreakerView, policy: BreakerPolicy): Readonly<Record<string, unknown>> {
  return {
    rate: view.rate,
    failed: view.failed,
    seen: view.seen,
    state: STATE_WORDS[view.state],
    reason: reasonText(view, policy),
    resumesAt: view.resumesAt === null ? null : toInstant(view.resumesAt),
    timeline: view.timeline.map(({ at, rate }) => ({ at: toInstant(at), rate })),
  };
}

function toInstant(ms: number): string {
  return new Date(ms).toISOString();
}

function explain(view: BreakerView, policy: BreakerPolicy, terminal: Terminal): void {
  const { windowMs, threshold, minimum } = policy;
  const spawning = { open: "BLOCKED", half_open: "ALLOWED (one at a time)", closed: "ALLOWED" };
  terminal.line(`Failure rate  ${rateText(view, windowMs)}`);
  terminal.line(`Threshold     ${percent(threshold)}, from ${minimum} machines on`);
  terminal.line(`Spawning      ${spawning[view.state]}: ${reasonText(view, policy)}`);
  const causes = Object.entries(view.causes).filter(([, count]) => count > 0);
  if (causes.length > 0) {
    terminal.line(`Failures by   ${causes.map(([kind, count]) => `${kind} ${count}`).join(", ")}`);
  }
  if (view.resumesAt !== null) {
    terminal.line(`Resumes       ${toInstant(view.resumesAt)}, if nothing else fails`);
  }
  if (view.timeline.length > 0)
    terminal.line("Timeline      rate after a failure has left the window");
  for (const { at, rate } of view.timeline) {
    terminal.line(`  ${toInstant(at)}  ${percent(rate).padStart(6)}`);
  }
}
