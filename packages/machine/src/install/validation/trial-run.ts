import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { tryPort } from "@holdfast/runtime/host";
import { readIfThere } from "../install-files.ts";
import { StepFailure, type StepContext } from "../model.ts";
import { programEnvironment, type HostEnvironment } from "../program-environment.ts";
import { describeProgramEnd, type ProgramResult, type RunProgram } from "../run-program.ts";
import { parseObjectInfo, type NodeClasses } from "./object-info.ts";

const HOST = "127.0.0.1";
const POLL_MS = 250;
const ASK_TIMEOUT_MS = 30_000;
const OBJECT_INFO_MAX_BYTES = 128 * 1024 ** 2;
const STARTUP_LOG_LINES_MAX = 50_000;

/** A ComfyUI that is tried without a card, with all it writes in a folder of its own. */
export interface Trial {
  readonly python: string;
  /** ComfyUI's folder; nothing is written there. */
  readonly comfyui: string;
  /** Emptied before each try, and removed after it. */
  readonly scratch: string;
  readonly run: RunProgram;
  readonly clock: Clock;
  readonly hostEnvironment: HostEnvironment;
  readonly machineRoot: string;
  readonly quickTestMs: number;
  readonly serverStartMs: number;
}

/** How a quick test ended, and everything that it printed. */
export interface QuickTest {
  readonly result: ProgramResult;
  readonly log: string;
}

/** Starts ComfyUI far enough to import all custom nodes, and lets it end by itself. */
export async function quickTest(trial: Trial, context: StepContext): Promise<QuickTest> {
  const lines: string[] = [];
  const result = await withScratch(trial, async (args) =>
    trial.run({
      ...call(trial, ["--quick-test-for-ci", ...args]),
      timeoutMs: trial.quickTestMs,
      signal: context.signal,
      onLine: (line) => {
        if (lines.length < STARTUP_LOG_LINES_MAX) lines.push(line);
        context.log(line);
      },
    }),
  );
  return { result, log: lines.join("\n") };
}

/** Starts ComfyUI as a server on a free port, asks what it has, and ends it with all its children. */
export async function askRunning(trial: Trial, context: StepContext): Promise<NodeClasses> {
  const port = await tryPort(HOST, 0);
  if (port.kind !== "free") {
    throw new StepFailure(`no port of ${HOST} can be listened on`, "Check the loopback interface.");
  }
  return await withScratch(trial, async (args) => {
    const end = new AbortController();
    const running = trial
      .run({
        ...call(trial, ["--listen", HOST, "--port", String(port.port), ...args]),
        timeoutMs: trial.serverStartMs,
        signal: AbortSignal.any([context.signal, end.signal]),
        onLine: (line) => context.log(line),
      })
      .catch(() => "ended by us" as const);
    try {
      const asked = pollObjectInfo(trial, port.port, AbortSignal.any([context.signal, end.signal]));
      const first = await Promise.race([running, asked]);
      context.signal.throwIfAborted();
      if (typeof first === "object" && "all" in first) return first;
      throw new StepFailure(
        `ComfyUI ended, or did not answer, when it was started as a server${typeof first === "object" && first.kind !== "succeeded" ? `: ${describeProgramEnd(first)}` : ""}`,
        "Look at its lines above.",
      );
    } finally {
      end.abort();
      await running;
    }
  });
}

async function pollObjectInfo(
  trial: Trial,
  port: number,
  signal: AbortSignal,
): Promise<NodeClasses> {
  for (;;) {
    const classes = await askObjectInfo(port, signal).catch(() => undefined);
    if (classes !== undefined) return classes;
    // Ended by the race: whoever lost it is not waited for, so it must not reject unseen.
    const isOver = await trial.clock.sleep(POLL_MS, signal).then(
      () => false,
      () => true,
    );
    if (isOver) return { all: [], byPack: new Map() };
  }
}

async function askObjectInfo(port: number, signal: AbortSignal): Promise<NodeClasses | undefined> {
  const answer = await fetch(`http://${HOST}:${port}/object_info`, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_TIMEOUT_MS)]),
  });
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answer.body ?? []) {
    size += part.length;
    if (size > OBJECT_INFO_MAX_BYTES) return undefined;
    parts.push(part);
  }
  return answer.ok ? parseObjectInfo(Buffer.concat(parts).toString("utf8")) : undefined;
}

function call(
  trial: Trial,
  args: readonly string[],
): { command: string; args: string[]; cwd: string; env: Record<string, string> } {
  return {
    command: trial.python,
    // -B: also an import writes nothing beside the sources.
    args: ["-u", "-B", "main.py", "--cpu", ...args],
    cwd: trial.comfyui,
    env: programEnvironment(trial.hostEnvironment, trial.machineRoot, {
      PYTHONDONTWRITEBYTECODE: "1",
      PYTHONUNBUFFERED: "1",
      // Nothing of the cards is touched while they may be at work.
      CUDA_VISIBLE_DEVICES: "",
      HIP_VISIBLE_DEVICES: "",
      GIT_TERMINAL_PROMPT: "0",
      VIRTUAL_ENV: join(trial.python, "..", ".."),
      PATH: `${join(trial.python, "..")}:${trial.hostEnvironment["PATH"] ?? "/usr/bin:/bin"}`,
    }),
  };
}

async function withScratch<T>(
  trial: Trial,
  fn: (args: readonly string[]) => Promise<T>,
): Promise<T> {
  const args: string[] = [];
  const known = await readIfThere(join(trial.comfyui, "comfy", "cli_args.py"));
  await rm(trial.scratch, { recursive: true, force: true });
  for (const name of ["input", "output", "temp", "user"]) {
    const folder = join(trial.scratch, name);
    await mkdir(folder, { recursive: true });
    // Older ones do not have all of these options, and refuse what they do not know.
    if (known?.includes(`"--${name}-directory"`) ?? true) args.push(`--${name}-directory`, folder);
  }
  // Where there is a database, it is in ComfyUI's own folder unless another place is named.
  if (known?.includes('"--database-url"') === true) {
    args.push("--database-url", `sqlite:///${join(trial.scratch, "comfyui.db")}`);
  }
  try {
    return await fn(args);
  } finally {
    await rm(trial.scratch, { recursive: true, force: true });
  }
}
