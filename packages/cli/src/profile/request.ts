/** `holdfast profile`'s options, checked. Everything that is wrong is told at once, before anything is sent. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serverAddress, type ServerAddress } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { readWorkflow, type LoadWorkflow } from "../load/read-workflow.ts";
import { parseDuration } from "../terminal/durations.ts";
import type { ProfileOptions } from "./options.ts";

/** What was asked for. */
export interface ProfileRequest {
  readonly address: ServerAddress;
  readonly workflows: readonly LoadWorkflow[];
  /** Where the workflows come from; null where they were named. */
  readonly samples: string | null;
  readonly runs: number;
  readonly seed: number;
  readonly root: string;
  /** A program to run; null: none was named, and it is looked for; false: not wanted. */
  readonly nvidiaSmi: string | null | false;
  readonly everyMs: number;
  readonly timeoutMs: number;
  /** A Holdfast to tell what a ComfyUI showed; null: nobody. */
  readonly feed: ServerAddress | null;
  readonly keepModels: boolean;
}

/** Where a workflow's file would lie on another. */
const OWN_NAMES = ["summary"];
const DEFAULT_ROOT = "infra";
const SAMPLES = ["book_small.json", "book_medium.json", "book_large.json"];
/** Of the repository that this program lies in; an installed one has none. */
const OWN_SAMPLES = fileURLToPath(new URL("../../../../infra/comfyui/samples/", import.meta.url));
const WORKFLOWS_MAX = 50;
const RUNS_MAX = 1_000;
const EVERY_MS = { min: 100, max: 600_000 };
const TIMEOUT_MS_MAX = 86_400_000;

/** Reads options and workflows; throws {@link CommandFailure} with every problem. */
export async function readProfileRequest(
  options: ProfileOptions,
  env: Readonly<Record<string, string | undefined>>,
  ownSamples = OWN_SAMPLES,
): Promise<ProfileRequest> {
  const problems: string[] = [];
  const root = options.root ?? DEFAULT_ROOT;
  const { apiKey } = options;
  const address = addressOf("--server", { url: options.server, apiKey }, env, problems);
  const feed =
    options.feed === undefined
      ? null
      : (addressOf("--feed", { url: options.feed, apiKey }, env, problems) ?? null);
  const samples = options.workflow === undefined ? samplesFolder(options, ownSamples) : null;
  const files = options.workflow ?? sampleFiles(samples ?? "", problems);
  const workflows = await workflowsOf(files, problems);
  const whole = (name: string, text: string | undefined, usual: number, max: number): number => {
    if (text === undefined) return usual;
    const value = /^\d{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= 1 && value <= max) return value;
    problems.push(`${name}: expected a whole number from 1 to ${max}, found ${quoted(text)}`);
    return usual;
  };
  const timeoutMs = options.timeout === undefined ? 420_000 : parseDuration(options.timeout);
  if (timeoutMs === undefined || timeoutMs <= 0 || timeoutMs > TIMEOUT_MS_MAX) {
    problems.push(
      `--timeout: expected seconds, or 90s, 10min, over 0 and at most 24h, found ${quoted(options.timeout)}`,
    );
  }
  const everyMs = whole("--every", options.every, 1_000, EVERY_MS.max);
  if (everyMs < EVERY_MS.min) {
    problems.push(`--every: expected at least ${EVERY_MS.min} ms, found ${everyMs}`);
  }
  const runs = whole("--runs", options.runs, 3, RUNS_MAX);
  const seed = whole("--seed", options.seed, 1, 2 ** 48);
  if (problems.length > 0 || address === undefined || timeoutMs === undefined) {
    throw new CommandFailure(EXIT.refused, [...problems, "Nothing was sent."].join("\n"));
  }
  const smi = options.nvidiaSmi;
  return {
    address,
    workflows,
    samples,
    runs,
    seed,
    root,
    nvidiaSmi: typeof smi === "string" ? smi : smi === false ? false : null,
    everyMs,
    timeoutMs,
    feed,
    keepModels: options.keepModels === true,
  };
}

/** Those under the root; where it is the usual one and has none, those of this program's repository. */
function samplesFolder({ root }: ProfileOptions, ownSamples: string): string {
  const folder = join(root ?? DEFAULT_ROOT, "comfyui", "samples");
  const hasSome = (at: string): boolean => SAMPLES.some((name) => existsSync(join(at, name)));
  return root === undefined && !hasSome(folder) && hasSome(ownSamples) ? ownSamples : folder;
}

function sampleFiles(folder: string, problems: string[]): readonly string[] {
  const files = SAMPLES.map((name) => join(folder, name));
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length === 0) return files;
  const words = `there is no ${missing.join(", ")}: name workflows with --workflow FILE, or copy the samples there`;
  problems.push(`--workflow: ${words}`);
  return [];
}

async function workflowsOf(
  given: readonly string[],
  problems: string[],
): Promise<readonly LoadWorkflow[]> {
  if (given.length > WORKFLOWS_MAX) {
    problems.push(`--workflow: expected at most ${WORKFLOWS_MAX}, found ${given.length}`);
    return [];
  }
  const workflows: LoadWorkflow[] = [];
  for (const file of given) {
    const read = await readWorkflow(file);
    if (read.kind === "bad") {
      problems.push(read.problem);
      continue;
    }
    const { name } = read.workflow;
    if (OWN_NAMES.includes(name.toLowerCase())) {
      problems.push(`--workflow: ${file}: ${name}.json is the profile's own file: rename it`);
    } else if (workflows.some((one) => one.name.toLowerCase() === name.toLowerCase())) {
      problems.push(`--workflow: two workflows are called "${name}": give one another name`);
    } else workflows.push(read.workflow);
  }
  return workflows;
}

function addressOf(
  option: string,
  flags: { readonly url: string | undefined; readonly apiKey: string | undefined },
  env: Readonly<Record<string, string | undefined>>,
  problems: string[],
): ServerAddress | undefined {
  try {
    return serverAddress(flags, env);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    problems.push(error.message.replace(/^--url/, option));
    return undefined;
  }
}

function quoted(text: string | undefined): string {
  return JSON.stringify(text ?? "");
}
