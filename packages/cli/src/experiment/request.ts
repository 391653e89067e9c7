import { join, resolve } from "node:path";
import type { ControlPlaneSettings } from "@holdfast/control-plane/process";
import { parseS3Url } from "@holdfast/control-plane/process";
import {
  experimentSequence,
  roundLength,
  RUNS_MAX,
  type ExperimentSequence,
  type HealthPolicy,
  type RunSource,
} from "@holdfast/experiments";
import type { TrackingTarget } from "@holdfast/mlflow";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { readSettings } from "../up/settings.ts";
import { loadExperiment, type LoadedExperiment } from "./load-experiment.ts";
import { mlflowTarget } from "./mlflow-target.ts";
import type { RunOptions } from "./options.ts";
import { knownService, parseServices, withKey, type CheckedService } from "./services.ts";
import { targetOf, type Target } from "./target.ts";

/** Everything that `experiment run` was asked for, checked: nothing was connected to yet. */
export interface RunRequest {
  /** The experiment's, as it was given. */
  readonly file: string;
  readonly options: RunOptions;
  readonly experiment: LoadedExperiment;
  readonly sequence: ExperimentSequence;
  readonly settings: ControlPlaneSettings;
  readonly target: Target;
  readonly services: readonly CheckedService[];
  readonly policy: HealthPolicy;
  readonly checkTimeoutMs: number;
  /** Runs between two checks; without end for none. */
  readonly checkInterval: number;
  readonly startFrom: number;
  /** `s3://…`, of `--store`. */
  readonly storeUrl: string | undefined;
  /** The MLflow that is told of it. */
  readonly mlflow: TrackingTarget | undefined;
  /** Where the results are. */
  readonly folder: string;
}

const DEFAULT_OUTPUT = "experiments";
/** Characters of the hash in a folder's name. */
const HASH_SHOWN = 8;
const MS_PER_SECOND = 1_000;

/** Throws {@link CommandFailure} with what is wrong. */
export async function readRequest(
  file: string,
  options: RunOptions,
  context: CommandContext,
): Promise<RunRequest> {
  const { count: wanted } = options;
  if (wanted !== undefined && wanted > RUNS_MAX) {
    throw refused(`--count: expected 1 to ${RUNS_MAX}, found ${wanted}`);
  }
  const experiment = await loadExperiment(file);
  const count = wanted ?? countOf(experiment.plan.source, options);
  const startFrom = startOf(options, count);
  if (wanted === undefined && options.dryRun === undefined) {
    context.terminal.note(`--count is ${count}: each run of ${file} once`);
  }
  const settings = readSettings({}, context);
  const target = targetOf(options, settings.comfyuiUrls, context.env);
  const { plan, specHash } = experiment;
  const folder = `${plan.name}-${specHash.slice(0, HASH_SHOWN)}`;
  return {
    file,
    options,
    experiment,
    sequence: experimentSequence(plan, count),
    settings,
    target,
    services: servicesOf(options, target, settings),
    policy: {
      attempts: settings.healthCheckAttempts,
      retryDelayMs: settings.healthCheckRetryDelaySeconds * MS_PER_SECOND,
      onUnhealthy: options.onUnhealthy ?? "abort",
    },
    checkTimeoutMs: settings.healthCheckTimeoutSeconds * MS_PER_SECOND,
    checkInterval:
      options.check === false ? Number.MAX_SAFE_INTEGER : settings.periodicHealthCheckInterval,
    startFrom,
    storeUrl: storeOf(options),
    mlflow: mlflowTarget(options.mlflow, settings),
    folder: join(resolve(options.output ?? DEFAULT_OUTPUT), folder),
  };
}

/** A grid and a list know how many runs they have, chance has no end. */
function countOf(source: RunSource, { dryRun, startFrom }: RunOptions): number {
  const length = roundLength(source);
  if (length === null) {
    if (dryRun !== undefined) return dryRun + (startFrom ?? 0);
    throw refused("--count: expected how many experiments to run, for mode: random has no end");
  }
  if (length <= RUNS_MAX) return length;
  const found = `the ${source.kind} has ${length}`;
  throw refused(`--count: expected how many experiments to run, 1 to ${RUNS_MAX}; ${found}`);
}

function startOf({ startFrom, resume, check, preFlight }: RunOptions, count: number): number {
  if (startFrom !== undefined && resume === true) {
    throw refused("expected --start-from or --resume, found both: --resume finds out by itself");
  }
  if (startFrom !== undefined && startFrom > count) {
    throw refused(
      `--start-from: expected 0 to ${count}, for --count is ${count}, found ${startFrom}`,
    );
  }
  if (check === false && preFlight === true) {
    throw refused("expected --pre-flight or --no-check, found both");
  }
  return startFrom ?? 0;
}

function servicesOf(
  { services, store }: RunOptions,
  target: Target,
  settings: ControlPlaneSettings,
): readonly CheckedService[] {
  if (services !== undefined) {
    const parsed = parseServices(services);
    if (parsed.kind === "bad") throw refused(parsed.message);
    return target.kind === "comfyui" ? parsed.services : withKey(parsed.services, target.address);
  }
  const { s3Endpoint } = settings;
  // AWS itself has no such address, and needs none.
  const isStoreChecked = store?.startsWith("s3://") === true && s3Endpoint !== undefined;
  const minio = isStoreChecked ? [knownService("minio", s3Endpoint)] : [];
  if (target.kind === "comfyui") return [knownService("comfyui", target.url), ...minio];
  const { address } = target;
  return withKey([knownService("holdfast", address.baseUrl), ...minio], address);
}

function storeOf({ store }: RunOptions): string | undefined {
  if (store === undefined) return undefined;
  try {
    parseS3Url(store);
    return store;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw refused(`--store: ${message}. The folder of --output always has every picture.`);
  }
}

function refused(message: string): CommandFailure {
  return new CommandFailure(EXIT.refused, message);
}
