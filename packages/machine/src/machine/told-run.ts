/** Tells the control plane of a run of the installer: each step when it has ended, the log at the end. */
import { createReadStream } from "node:fs";
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import type { ToldRun } from "@holdfast/agent";
import type { StepResult } from "../install/model.ts";

/** A log beyond this is not sent. */
const LOG_MAX_BYTES = 64 * 1024 * 1024;

/** What names a run. */
export type RunName = Pick<ToldRun, "runId" | "kind">;

/** One run. */
export class RunTelling {
  readonly #name: RunName;
  readonly #tell: (run: ToldRun) => void;
  #untold: ToldRun["steps"][number][] = [];
  #isNews = false;

  constructor(name: RunName, tell: (run: ToldRun) => void) {
    this.#name = name;
    this.#tell = tell;
  }

  /** A step has ended. What was done already is told only beside what was not. */
  step(result: StepResult): void {
    this.#untold.push(toStartupStep(result));
    if (result.outcome === "done" || result.outcome === "failed") this.#isNews = true;
    if (this.#isNews) this.#flush(undefined);
  }

  /** The run is over; the log is whole. A run that found everything done is no news to anybody. */
  async end(logFile: string | null): Promise<void> {
    if (!this.#isNews) return;
    this.#flush(logFile === null ? undefined : await logSource(logFile));
  }

  #flush(log: ToldRun["log"]): void {
    const steps = this.#untold;
    this.#untold = [];
    this.#tell({ ...this.#name, steps, ...(log === undefined ? {} : { log }) });
  }
}

/** A step's result as the control plane takes it. */
function toStartupStep(result: StepResult): ToldRun["steps"][number] {
  const { id, title, outcome, startedAt, durationMs, detail, advice, isOptional } = result;
  return { id, title, outcome, startedAt, durationMs, detail, advice, isOptional };
}

/** The log's bytes by their hash; undefined when there is none to be had. */
async function logSource(file: string): Promise<ToldRun["log"]> {
  try {
    const { size } = await stat(file);
    if (size === 0 || size > LOG_MAX_BYTES) return undefined;
    // Read twice rather than held: exactly so many bytes, should anybody write to it meanwhile.
    const open = () => createReadStream(file, { end: size - 1 });
    const hash = createHash("sha256");
    for await (const chunk of open()) hash.update(chunk as Buffer);
    return { sha256: hash.digest("hex"), sizeBytes: size, open };
  } catch {
    return undefined; // The steps are told all the same.
  }
}
