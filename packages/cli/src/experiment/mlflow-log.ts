import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { HealthRecord, ResultRecord } from "@holdfast/experiments";
import {
  openRunLog,
  tellTrouble,
  type DeliveryEvent,
  type RunLog,
  type TrackingTarget,
} from "@holdfast/mlflow";
import type { Clock, Random } from "@holdfast/runtime";
import { makeFolder } from "@holdfast/runtime/host";
import type { ExperimentLog } from "./experiment-log.ts";
import { writeWhole } from "./folder/about-file.ts";
import { HEALTH_FILE } from "./folder/results-folder.ts";

/** Name of the folder of what MLflow is told. */
export const MLFLOW_FOLDER = "mlflow";
/** Folder of single checks, which MLflow gets as files: it has no place for their words. */
const CHECKS_FOLDER = "health";

/** How to open the log. */
export interface MlflowLogOptions {
  /** Of the experiment. */
  readonly folder: string;
  readonly experiment: string;
  readonly specHash: string;
  readonly count: number;
  readonly holdfastVersion: string;
  readonly target: TrackingTarget;
  readonly clock: Clock;
  readonly random: Random;
  /** For the person who watches. */
  readonly note: (text: string) => void;
}

/** An open log, or why there is none. */
export type OpenedMlflowLog =
  | { readonly kind: "open"; readonly log: ExperimentLog }
  | { readonly kind: "unusable"; readonly message: string };

/** The run that keeps the health checks; all others are shown under it. */
const PARENT = "experiment";
const MS_PER_SECOND = 1_000;
/** Longest words of a failure that a tag repeats. */
const MESSAGE_MAX = 1_000;

/** Opens the log in the experiment's folder: what an earlier process left in it is delivered too. */
export async function openMlflowLog(options: MlflowLogOptions): Promise<OpenedMlflowLog> {
  const { folder, experiment, target, clock, random, note } = options;
  const opened = await openRunLog({
    folder: join(folder, MLFLOW_FOLDER),
    experiment,
    target,
    clock,
    random,
    onEvent: (event) => note(eventOfRunText(event)),
  });
  switch (opened.kind) {
    case "open":
      return { kind: "open", log: await createLog(opened.log, options) };
    case "locked":
      return {
        kind: "unusable",
        message: `process ${opened.pid} delivers ${folder} to MLflow: wait for it, or use --no-mlflow`,
      };
    case "no_log":
      return { kind: "unusable", message: `${folder} has nothing for MLflow` };
    case "other_experiment":
      return {
        kind: "unusable",
        message: `${folder} is told to MLflow's experiment ${opened.found}, not ${opened.expected}`,
      };
    default:
      return { kind: "unusable", message: opened.message };
  }
}

/** What happens to delivery, for whoever watches. */
export function eventText(event: DeliveryEvent): string {
  switch (event.kind) {
    case "away":
      return `warning: ${tellTrouble(event.trouble)}. All is kept and delivered later.`;
    case "back":
      return "MLflow takes records again";
    case "set_aside":
      return `warning: MLflow refused ${event.count} records for good: ${event.reason}`;
    default:
      return `warning: what MLflow is told cannot be kept well: ${event.message}`;
  }
}

/** Runs go on whatever becomes of delivery. */
function eventOfRunText(event: DeliveryEvent): string {
  if (event.kind !== "away") return eventText(event);
  const words = `[WARN] Proceeding, MLflow is away: ${tellTrouble(event.trouble)}.`;
  return `${words} What it is told is kept on the disk, and delivered later.`;
}

async function createLog(log: RunLog, options: MlflowLogOptions): Promise<ExperimentLog> {
  const { folder, experiment, specHash, count, holdfastVersion, note } = options;
  let isTold = false;
  const kept = async (what: ReturnType<RunLog["startRun"]>): Promise<void> => {
    const result = await what;
    if (result.kind === "kept" || isTold) return;
    isTold = true;
    note(`warning: MLflow is not told of everything: ${result.message}`);
  };
  const common = { "holdfast.version": holdfastVersion, "holdfast.spec_sha256": specHash };
  await kept(
    log.startRun({
      key: PARENT,
      name: `${experiment}-${specHash.slice(0, 8)}`,
      params: {},
      tags: { ...common, "holdfast.count": String(count) },
    }),
  );
  await makeFolder(join(folder, CHECKS_FOLDER));
  let lastAnswers = "";
  return {
    async checked(record) {
      const at = Date.parse(record.at);
      await kept(log.metrics(PARENT, healthMetrics(record), { step: record.experiment, at }));
      // While somebody waits for services, the same words come for ever.
      const answers = JSON.stringify([record.experiment, record.services]);
      if (record.decision === "wait" && answers === lastAnswers) return;
      lastAnswers = answers;
      const name = checkFile(record);
      const path = join(folder, CHECKS_FOLDER, name);
      await writeWhole(path, `${JSON.stringify(record, null, 2)}\n`);
      await kept(log.artifact(PARENT, `health/${name}`, path));
    },
    async runStarted({ index, name, title, seed, values, set }) {
      const inputs = set.map(({ nodeId, input, value }) => [`${nodeId}.${input}`, textOf(value)]);
      const own = Object.entries(values).map(([dimension, value]) => [dimension, textOf(value)]);
      await kept(
        log.startRun({
          key: name,
          name,
          parent: PARENT,
          tags: { ...common, "holdfast.index": String(index), "holdfast.title": title },
          params: { seed: String(seed), ...Object.fromEntries([...inputs, ...own]) },
        }),
      );
    },
    async runEnded(record) {
      const { name } = record;
      await kept(log.metrics(name, runMetrics(record)));
      await kept(log.tags(name, runTags(record)));
      for (const { stored } of record.outputs) {
        await kept(log.artifact(name, stored, join(folder, stored)));
      }
      await kept(log.endRun(name, record.status === "completed" ? "FINISHED" : "FAILED"));
    },
    async ended(how) {
      // A copy: the file itself grows when the experiment goes on, before it may be delivered.
      const snapshot = join(folder, CHECKS_FOLDER, HEALTH_FILE);
      await writeWhole(snapshot, await readFile(join(folder, HEALTH_FILE), "utf8"));
      await kept(log.artifact(PARENT, HEALTH_FILE, snapshot));
      const status = {
        finished: "FINISHED",
        unhealthy: "FAILED",
        refused: "FAILED",
        interrupted: "KILLED",
      } as const;
      await kept(log.endRun(PARENT, status[how]));
    },
    async flush(timeoutMs, signal) {
      const { pending, setAside, setAsideFile, trouble } = await log.flush({ timeoutMs, signal });
      const words = trouble === undefined ? undefined : tellTrouble(trouble);
      return { pending, setAside, setAsideFile, trouble: words };
    },
    close: () => log.close(),
  };
}

function healthMetrics({ services }: HealthRecord): Record<string, number> {
  return Object.fromEntries(
    services.map(({ service, isHealthy }) => [`health.${service}`, isHealthy ? 1 : 0]),
  );
}

/** `periodic-0120-20260102T030405678Z-1.json`: of every process another name. */
function checkFile({ check, experiment, attempt, at }: HealthRecord): string {
  const when = at.replaceAll(/[-:.]/g, "");
  return `${check}-${String(experiment).padStart(4, "0")}-${when}-${attempt}.json`;
}

function runMetrics({ durationMs, metrics }: ResultRecord): Record<string, number> {
  return { duration_seconds: durationMs / MS_PER_SECOND, ...metrics };
}

function runTags({ status, error, recovery, attempt }: ResultRecord): Record<string, string> {
  return {
    "holdfast.status": status,
    "holdfast.start": String(attempt),
    "holdfast.error_class": error?.class ?? "",
    "holdfast.error_node": [error?.nodeId, error?.nodeType].filter(Boolean).join(" "),
    "holdfast.exception_type": error?.exceptionType ?? "",
    "holdfast.error_message": error?.message.slice(0, MESSAGE_MAX) ?? "",
    "holdfast.recovery": recovery.join("; "),
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
