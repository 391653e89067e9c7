/** `holdfast fleet breaker --replay`: what the breaker says over a file of events, without a server. */
import { open } from "node:fs/promises";
import { text } from "node:stream/consumers";
import {
  DEFAULT_BREAKER_POLICY,
  lookAtBreaker,
  parseInstant,
  percent,
  policyProblems,
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
  const policy = readPolicy(options, context.env);
  const at = readInstant("--at", options.at) ?? systemClock.now();
  const reading = readReplay(await readEvents(options.replay));
  if (reading.kind === "invalid") {
    const problems = reading.problems.map((problem) => `${options.replay}: ${problem}`);
    throw new CommandFailure(EXIT.refused, problems.join("\n"));
  }
  const { view } = lookAtBreaker(reading.lifespans, policy, at);
  if (options.json === true) context.terminal.line(JSON.stringify(toResult(view, policy)));
  else explain(view, policy, context.terminal);
}

/** Flags before the environment before the defaults. Throws with every problem. */
function readPolicy(options: BreakerReplayOptions, env: CommandContext["env"]): BreakerPolicy {
  const from = (flag: string, given: string | undefined, name: string) =>
    given !== undefined ? { name: flag, given } : { name, given: env[name] };
  const problems: string[] = [];
  const number = (source: ReturnType<typeof from>, byDefault: number): number => {
    if (source.given === undefined || source.given === "") return byDefault;
    const value = source.given.trim() === "" ? Number.NaN : Number(source.given);
    if (Number.isNaN(value)) {
      problems.push(`${source.name}: expected a number, found ${JSON.stringify(source.given)}`);
      return byDefault;
    }
    return value;
  };
  const { threshold, windowMs, minimum } = DEFAULT_BREAKER_POLICY;
  const policy = {
    threshold: number(from("--threshold", options.threshold, "MAX_WORKER_FAILURE_RATE"), threshold),
    windowMs:
      number(
        from("--window-minutes", options.windowMinutes, "FAILURE_WINDOW_MINUTES"),
        windowMs / MS_PER_MINUTE,
      ) * MS_PER_MINUTE,
    minimum: number(from("--minimum", options.minimum, "MIN_WORKERS_FOR_RATE_CHECK"), minimum),
    clearedBefore: readInstant("--clear-before", options.clearBefore) ?? null,
  };
  problems.push(...policyProblems(policy));
  if (problems.length > 0) throw new CommandFailure(EXIT.refused, problems.join("\n"));
  return policy;
}

function readInstant(flag: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const instant = parseInstant(given);
  if (instant !== undefined) return instant;
  throw new CommandFailure(
    EXIT.refused,
    `${flag}: expected an instant such as 2026-01-31T12:00:00Z, or epoch ms, found ${JSON.stringify(given)}`,
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
