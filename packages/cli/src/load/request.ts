/** `holdfast load`'s options as a plan. Everything that is wrong is told at once, before any load is sent. */
import {
  DEFAULT_PACING_LIMITS,
  limitProblems,
  loopOf,
  mixProblems,
  paceProblems,
  parsePace,
  stopLimitProblems,
  type ComparedLoad,
  type Mix,
  type Pace,
  type PacingLimits,
  type StopLimits,
  type WarmUp,
} from "@holdfast/load";
import { serverAddress, type ServerAddress } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { parseDuration } from "../terminal/durations.ts";
import { readBaseline, type Compare } from "./baseline.ts";
import type { LoadOptions } from "./options.ts";
import { readWorkflow, type LoadWorkflow } from "./read-workflow.ts";

/** What a load run was asked for, checked; nothing was connected to yet. */
export interface LoadRequest {
  readonly address: ServerAddress;
  /** Null: it is found out. */
  readonly targetKind: "holdfast" | "comfyui" | null;
  readonly workflows: readonly LoadWorkflow[];
  readonly mix: Mix;
  readonly pace: Pace;
  readonly limits: PacingLimits;
  readonly warmUp: WarmUp;
  readonly timeoutMs: number;
  readonly stop: StopLimits;
  /** Share of jobs that must complete; under it the exit code is 1. */
  readonly minSuccess: number;
  /** US dollars an hour of one machine; null where nobody said. */
  readonly costPerHour: number | null;
  /** Null: no file is written. */
  readonly output: string | null;
  /** The same of the page with plots. */
  readonly report: string | null;
  /** Name of a fault that is made meanwhile; null for none. */
  readonly scenario: string | null;
  readonly root: string;
  /** With the run of that file. */
  readonly compare: (Compare & { readonly before: ComparedLoad }) | null;
}

/** Unless a number or a time is given. */
const DEFAULT_JOBS = 12;
const DEFAULT_CONCURRENCY = 4;
const DEFAULT_TIMEOUT_MS = 420_000;
/** A day. */
const TIMEOUT_MS_MAX = 86_400_000;
/** What a ramp stops at unless it is told otherwise. */
const RAMP_STOP: StopLimits = { gpuPercent: 90, errorPercent: 2 };
const NEVER_STOP: StopLimits = { gpuPercent: null, errorPercent: null };
const DEFAULT_MIN_SUCCESS = 0.98;
const DEFAULT_ROOT = "infra";

/** Reads options and workflows; throws {@link CommandFailure} with every problem. */
export async function readLoadRequest(
  options: LoadOptions,
  env: Readonly<Record<string, string | undefined>>,
): Promise<LoadRequest> {
  const problems: string[] = [];
  const address = addressOf(options, env, problems);
  const workflows: LoadWorkflow[] = [];
  if ((options.workflow ?? []).length === 0) {
    problems.push("--workflow: expected at least one file in ComfyUI's API format");
  }
  for (const argument of options.workflow ?? []) {
    const read = await readWorkflow(argument);
    if (read.kind === "ok") workflows.push(read.workflow);
    else problems.push(read.problem);
  }
  const seed = options.seed === undefined ? 1 : numberOf("--seed", options.seed, problems);
  const mix: Mix = { workflows, seed };
  if (workflows.length > 0) problems.push(...mixProblems(mix).map((one) => `the mix: ${one}`));
  const pace = paceOf(options, problems);
  const limits = limitsOf(options, pace, problems);
  const warmUp = warmUpOf(options, problems);
  const timeoutMs = timeoutOf(options, problems);
  const stop = stopOf(options, pace, problems);
  const minSuccess = shareOf(options, problems);
  const costPerHour = costOf(options, problems);
  if (options.force === true && options.compare === undefined) {
    problems.push("--force: expected --compare beside it");
  }
  const compare = await compareOf(options, problems);
  await checkScenario(options, problems);
  if (problems.length > 0 || address === undefined || pace === undefined) {
    // A number that is none was told where it was read.
    const told = problems.filter((problem) => !problem.endsWith("found NaN"));
    throw new CommandFailure(EXIT.refused, [...told, "No load was sent."].join("\n"));
  }
  return {
    address,
    targetKind: options.target ?? null,
    workflows,
    mix,
    pace,
    limits,
    warmUp,
    timeoutMs,
    stop,
    minSuccess,
    costPerHour,
    output: options.output ?? null,
    report: options.report ?? null,
    scenario: options.scenario ?? null,
    root: options.root ?? DEFAULT_ROOT,
    compare,
  };
}

async function compareOf(
  { compare: file, force }: LoadOptions,
  problems: string[],
): Promise<LoadRequest["compare"]> {
  if (file === undefined) return null;
  try {
    return { file, force: force === true, before: await readBaseline(file) };
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    problems.push(error.message);
    return null;
  }
}

/** Whether it can be made is known when the server is; what makes faults is loaded for those who want one. */
async function checkScenario({ scenario }: LoadOptions, problems: string[]): Promise<void> {
  if (scenario === undefined) return;
  const { SCENARIOS } = await import("../fault/scenarios/all-scenarios.ts");
  if (SCENARIOS.some(({ name }) => name === scenario)) return;
  const known = SCENARIOS.map(({ name }) => name).join(", ");
  problems.push(`--scenario: there is no scenario ${scenario}; there are ${known}`);
}

function addressOf(
  { server, apiKey }: LoadOptions,
  env: Readonly<Record<string, string | undefined>>,
  problems: string[],
): ServerAddress | undefined {
  try {
    return serverAddress({ url: server, apiKey }, env);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    problems.push(error.message.replace(/^--url/, "--server"));
    return undefined;
  }
}

function paceOf(options: LoadOptions, problems: string[]): Pace | undefined {
  const { concurrency, rate, ramp, step } = options;
  const given = Object.entries({ rate, ramp, step }).filter(([, text]) => text !== undefined);
  if (given.length > 1 || (given.length === 1 && concurrency !== undefined)) {
    const names = [...(concurrency === undefined ? [] : ["concurrency"]), ...given.map(([n]) => n)];
    const found = names.map((name) => `--${name}`).join(" and ");
    problems.push(`expected one of --concurrency, --rate, --ramp and --step, found ${found}`);
    for (const name of names) readPace(name, options[name as PaceOption] ?? "", problems);
    return undefined;
  }
  const [name, text] = given[0] ?? ["concurrency", concurrency];
  if (text === undefined) {
    // Nobody asked for four: of two jobs two are in flight.
    const jobs = /^[1-9]\d*$/.test(options.jobs ?? "") ? Number(options.jobs) : DEFAULT_JOBS;
    return { kind: "closed", inFlight: Math.min(DEFAULT_CONCURRENCY, jobs) };
  }
  return readPace(name, text, problems);
}

type PaceOption = "concurrency" | "rate" | "ramp" | "step";

function readPace(name: string, text: string, problems: string[]): Pace | undefined {
  if (name === "concurrency") {
    const pace: Pace = { kind: "closed", inFlight: numberOf("--concurrency", text, problems) };
    problems.push(...paceProblems(pace).map((one) => `--concurrency: ${one}`));
    return pace;
  }
  const reading = parsePace(paceWords(name, text));
  if (reading.kind === "ok") return reading.pace;
  problems.push(
    ...reading.problems.map((one) =>
      one.startsWith("pace: ")
        ? `--${name}: expected ${EXAMPLES[name] ?? "a pace"}, found ${JSON.stringify(text)}`
        : `--${name}: ${one}`,
    ),
  );
  return undefined;
}

const EXAMPLES: Readonly<Record<string, string>> = {
  rate: "a rate such as 30/min, 2/s or poisson:2/s",
  ramp: "jobs at a time or a rate, and a time, such as 1..20@5min or 0/s..10/s@5min",
  step: "levels with their times, such as 1,2,4,8@60s or 1/s@60s,2/s@90s",
};

/** `30/min` is `open:30/min` to the parser; what names its kind is left alone. */
function paceWords(name: string, text: string): string {
  if (name === "rate") return /^(?:open|poisson):/.test(text) ? text : `open:${text}`;
  if (text.startsWith("poisson:")) return `${name}-${text}`;
  return text.startsWith(`${name}:`) || text.startsWith(`${name}-`) ? text : `${name}:${text}`;
}

function limitsOf(options: LoadOptions, pace: Pace | undefined, problems: string[]): PacingLimits {
  const given = options.for === undefined ? null : durationOf("--for", options.for, problems);
  // A ramp that nothing stops has its answer when it is at its top.
  const isEndless = pace?.kind === "ramp" && given === null && options.jobs === undefined;
  const forMs = isEndless ? pace.overMs : given;
  // Steps end by themselves; a time ends the rest. Else there is a number of jobs.
  const isBounded = forMs !== null || pace?.kind === "step";
  const jobs =
    options.jobs === undefined
      ? isBounded
        ? null
        : DEFAULT_JOBS
      : numberOf("--jobs", options.jobs, problems);
  const limits: PacingLimits = { ...DEFAULT_PACING_LIMITS, jobs, forMs };
  problems.push(...limitProblems(limits).map((one) => `--${one}`.replace("--time:", "--for:")));
  const most = pace !== undefined && loopOf(pace) === "closed" ? mostInFlight(pace) : 0;
  if (options.jobs !== undefined && jobs !== null && jobs > 0 && most > jobs) {
    const words = `${most} jobs at a time, and ${jobs} in all`;
    problems.push(`--jobs: expected at least as many as are in flight, found ${words}`);
  }
  return limits;
}

function mostInFlight(pace: Pace): number {
  switch (pace.kind) {
    case "closed":
      return pace.inFlight;
    case "ramp":
      return Math.max(pace.from, pace.to);
    case "step":
      return Math.max(...pace.levels.map(({ value }) => value));
    default:
      return 0;
  }
}

function warmUpOf({ warmUp }: LoadOptions, problems: string[]): WarmUp {
  if (warmUp === undefined) return { jobs: 0, forMs: 0 };
  if (/^\d{1,9}$/.test(warmUp)) return { jobs: Number(warmUp), forMs: 0 };
  const forMs = parseDuration(warmUp);
  if (forMs !== undefined) return { jobs: 0, forMs };
  const found = JSON.stringify(warmUp);
  problems.push(
    `--warm-up: expected a number of jobs such as 4, or a time such as 30s, found ${found}`,
  );
  return { jobs: 0, forMs: 0 };
}

function timeoutOf({ timeout }: LoadOptions, problems: string[]): number {
  const ms = timeout === undefined ? DEFAULT_TIMEOUT_MS : parseDuration(timeout);
  if (ms !== undefined && ms > 0 && ms <= TIMEOUT_MS_MAX) return ms;
  const found = JSON.stringify(timeout);
  problems.push(
    `--timeout: expected seconds, or 90s, 10min, over 0 and at most 24h, found ${found}`,
  );
  return DEFAULT_TIMEOUT_MS;
}

function stopOf(options: LoadOptions, pace: Pace | undefined, problems: string[]): StopLimits {
  const usual = pace?.kind === "ramp" ? RAMP_STOP : NEVER_STOP;
  const read = (name: string, text: string | undefined, fallback: number | null) => {
    if (text === undefined) return fallback;
    return text === "never" ? null : numberOf(name, text.replace(/\s*%$/, ""), problems);
  };
  const stop: StopLimits = {
    gpuPercent: read("--stop-gpu", options.stopGpu, usual.gpuPercent),
    errorPercent: read("--stop-errors", options.stopErrors, usual.errorPercent),
  };
  problems.push(...stopLimitProblems(stop));
  return stop;
}

function shareOf({ minSuccess }: LoadOptions, problems: string[]): number {
  if (minSuccess === undefined) return DEFAULT_MIN_SUCCESS;
  const isPercent = /%\s*$/.test(minSuccess);
  const value = Number(minSuccess.replace(/\s*%\s*$/, "")) / (isPercent ? 100 : 1);
  if (minSuccess.trim() !== "" && value >= 0 && value <= 1) return value;
  const found = JSON.stringify(minSuccess);
  problems.push(`--min-success: expected a share such as 0.98, or 98%, found ${found}`);
  return DEFAULT_MIN_SUCCESS;
}

function costOf({ costPerHour }: LoadOptions, problems: string[]): number | null {
  if (costPerHour === undefined) return null;
  const value = numberOf("--cost-per-hour", costPerHour, problems);
  if (value < 0) problems.push(`--cost-per-hour: expected US dollars from 0, found ${value}`);
  return value;
}

function durationOf(name: string, text: string, problems: string[]): number | null {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  problems.push(`${name}: expected a time such as 90s or 10min, found ${JSON.stringify(text)}`);
  return null;
}

/** NaN was told already. */
function numberOf(name: string, text: string, problems: string[]): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isFinite(value)) return value;
  problems.push(`${name}: expected a number, found ${JSON.stringify(text)}`);
  return Number.NaN;
}
