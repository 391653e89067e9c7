import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { JobView } from "@holdfast/contract";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { ApiClient } from "../api/api-client.ts";
import { getOutputs, submitJobs } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { stateOfAll } from "../jobs/progress-text.ts";
import { endText } from "../jobs/show-wait.ts";
import { waitForJobs } from "../jobs/wait.ts";
import { downloadOutputs } from "../submit/download.ts";
import type { Terminal } from "../terminal/terminal.ts";
import type { RunningUp } from "../up/running-up.ts";

/** What the demo runs on. */
export interface DemoFacts extends RunningUp {
  readonly settings: { readonly home: string };
  readonly terminal: Terminal;
  readonly api: ApiClient;
  /** Aborted when the user has enough. */
  readonly signal: AbortSignal;
}

const EXAMPLES = fileURLToPath(new URL("../../../../examples/", import.meta.url));
const SEEDS = 1_000_000;

/** Submits one of the examples and waits until all its jobs are completed. */
export async function render(
  facts: DemoFacts,
  wanted: { readonly example: string; readonly count: number; readonly signal: AbortSignal },
): Promise<readonly JobView[]> {
  const { terminal, api } = facts;
  const { signal } = wanted;
  const graph: unknown = JSON.parse(await readFile(join(EXAMPLES, wanted.example), "utf8"));
  const bodies = Array.from({ length: wanted.count }, () => ({
    graph,
    name: "demo",
    tags: ["demo"],
    ...variation(wanted.example),
  }));
  const submitted = await submitJobs(api, bodies, {
    idempotencyKey: undefined,
    isStrict: false,
    clock: systemClock,
  });
  let shown = "";
  const jobs = await waitForJobs(api, submitted.jobs, {
    clock: systemClock,
    signal,
    listener: {
      changed(now) {
        const line = stateOfAll(now);
        if (line !== shown) terminal.note(`demo: ${line}`);
        shown = line;
      },
      connection: () => undefined,
    },
  });
  const failed = jobs.find((job) => job.status !== "completed");
  if (failed !== undefined) throw new CommandFailure(EXIT.failed, `demo: ${endText(failed)}`);
  return jobs;
}

/** What makes every demo a render of its own, instead of one that ComfyUI has in its cache. */
function variation(example: string): { readonly set: Readonly<Record<string, number>> } {
  const number = Math.floor(systemRandom.next() * SEEDS);
  return { set: example === "model-free.json" ? { "1.color": number } : { "3.seed": number } };
}

/** Fetches what the job gave; the path of the first file. */
export async function fetchPicture(facts: DemoFacts, job: JobView): Promise<string> {
  const { api } = facts;
  const outputs = await getOutputs(api, job.id);
  const folder = join(facts.settings.home, "demo");
  const written = await downloadOutputs(api, outputs, { folder, clock: systemClock });
  const [first] = written;
  if (first?.kind === "written") return first.path;
  const reason = first === undefined ? "the job gave nothing" : first.reason;
  throw new CommandFailure(EXIT.failed, `demo: the picture could not be fetched: ${reason}`);
}
