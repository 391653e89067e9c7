import { join } from "node:path";
import { StepFailure, type StepContext } from "../model.ts";
import { programEnvironment, type HostEnvironment } from "../program-environment.ts";
import { describeProgramEnd, type ProgramResult, type RunProgram } from "../run-program.ts";

/** How uv is called for one release. */
export interface UvCaller {
  readonly run: RunProgram;
  readonly hostEnvironment: HostEnvironment;
  readonly machineRoot: string;
  /** Folder of the release: relative paths in requirement files count from there. */
  readonly cwd: string;
  /** uv's program; the step that made it ready ran before. */
  program(context: StepContext): Promise<string>;
}

/** One call of uv. */
export interface UvCall {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Keeps its lines out of the log: for questions that are expected to be answered with no. */
  readonly isQuiet?: boolean;
}

/** Runs uv with its cache beside the releases, so that packages are linked and not copied. */
export async function callUv(
  uv: UvCaller,
  call: UvCall,
  context: StepContext,
): Promise<ProgramResult> {
  const env = programEnvironment(uv.hostEnvironment, uv.machineRoot, {
    UV_NO_PROGRESS: "1",
    NO_COLOR: "1",
    ...(uv.hostEnvironment["UV_CACHE_DIR"] === undefined
      ? { UV_CACHE_DIR: join(uv.machineRoot, "cache", "uv") }
      : {}),
    ...call.env,
  });
  return await uv.run({
    command: await uv.program(context),
    args: call.args,
    cwd: uv.cwd,
    env,
    timeoutMs: call.timeoutMs,
    signal: context.signal,
    stdoutMaxBytes: 8 * 1024 ** 2,
    ...(call.isQuiet === true ? {} : { onLine: (line: string) => context.log(line) }),
  });
}

/** What a failure of uv comes from. */
export type UvFailureKind = "conflict" | "unreachable" | "no_space" | "other";

/** Texts of uv 0.8 to 0.13. */
const PATTERNS: readonly (readonly [UvFailureKind, RegExp])[] = [
  ["no_space", /No space left on device|Disk quota exceeded/i],
  [
    "unreachable",
    /Failed to fetch|error sending request|dns error|Could not connect|tcp connect error|timed out|network connectivity is disabled/i,
  ],
  ["conflict", /No solution found when resolving/i],
];

/** Which failure a text of uv tells. */
export function classifyUvText(text: string): UvFailureKind {
  return PATTERNS.find(([, pattern]) => pattern.test(text))?.[0] ?? "other";
}

const ADVICE: Readonly<Record<UvFailureKind, string>> = {
  conflict: "Change the requirement that cannot be met, or the constraint against it.",
  unreachable:
    "Check the network and the indexes of the manifest (python.indexUrl, torch.indexUrl), and run it again.",
  no_space: "Free space on that disk and run it again; it goes on from here.",
  other: "Look at uv's message above.",
};

/** A failure of uv as one of a step. */
export function uvStepFailure(
  what: string,
  result: Exclude<ProgramResult, { kind: "succeeded" }>,
): StepFailure {
  const kind = result.kind === "not_started" ? "other" : classifyUvText(result.stderrTail);
  return new StepFailure(`${what}: ${describeProgramEnd(result)}`, ADVICE[kind]);
}
