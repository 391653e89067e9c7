/** The calls of {@link file://./fake-mlflow.ts}: MLflow's rules (3.17.2), on maps in memory. */
import { createHash } from "node:crypto";
import { posix } from "node:path";
import type { FakeRun, FakeState } from "./fake-mlflow-state.ts";

/** An answer that is not 200. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

interface Pair {
  readonly key: string;
  readonly value: string;
}
interface Metric {
  readonly key: string;
  readonly value: number | string;
  readonly timestamp: number;
  readonly step: number;
}
interface Body {
  readonly [name: string]: unknown;
  readonly run_id?: string;
  readonly experiment_id?: string;
  readonly tags?: readonly Pair[];
  readonly params?: readonly Pair[];
  readonly metrics?: readonly Metric[];
}

const invalid = (message: string) => new Refused(400, "INVALID_PARAMETER_VALUE", message);
const missing = (message: string) => new Refused(404, "RESOURCE_DOES_NOT_EXIST", message);

type Handlers = Readonly<Record<string, (body: Body, query: URLSearchParams) => unknown>>;

/** The calls over a state. */
export function fakeCalls(state: FakeState) {
  const handlers: Handlers = { ...experimentCalls(state), ...runCalls(state), ...changes(state) };
  return {
    call(name: string, text: string, query: URLSearchParams): unknown {
      const handler = handlers[name];
      if (handler === undefined) throw new Refused(404, "ENDPOINT_NOT_FOUND", `no ${name}`);
      return handler(text === "" ? {} : (JSON.parse(text) as Body), query);
    },
    upload(path: string, bytes: Buffer): "" {
      // MLflow decodes twice.
      const [, runId = "", , ...rest] = decodeURIComponent(decodeURIComponent(path)).split("/");
      const isBad = rest.includes("..") || rest.some((part) => part.includes("#"));
      if (isBad) throw invalid("Invalid path");
      const run = state.runs.get(runId);
      run?.artifacts.set(rest.join("/"), createHash("sha256").update(bytes).digest("hex"));
      run?.history.push(`artifact ${rest.join("/")}`);
      return "";
    },
  };
}

function experimentCalls(state: FakeState): Handlers {
  const byName = (name: unknown) =>
    [...state.experiments.values()].find((experiment) => experiment.name === name);

  return {
    "experiments/search": () => ({ experiments: [] }),
    "experiments/get-by-name"(_, query) {
      const name = query.get("experiment_name");
      const found = byName(name);
      if (found === undefined) throw missing(`Could not find experiment with name '${name}'`);
      const stage = found.isDeleted ? "deleted" : "active";
      return { experiment: { experiment_id: found.id, name, lifecycle_stage: stage } };
    },
    "experiments/create"({ name }) {
      if (byName(name) !== undefined) {
        throw new Refused(
          400,
          "RESOURCE_ALREADY_EXISTS",
          `Experiment(name=${String(name)}) already exists.`,
        );
      }
      const id = String(state.experiments.size + 1);
      state.experiments.set(id, { id, name: String(name), isDeleted: false });
      return { experiment_id: id };
    },
  };
}

function runCalls(state: FakeState): Handlers {
  return {
    "runs/create"(body) {
      const experiment = state.experiments.get(body.experiment_id ?? "");
      if (experiment === undefined)
        throw missing(`No Experiment with id=${body.experiment_id} exists`);
      if (experiment.isDeleted) {
        throw invalid(
          `The experiment ${experiment.id} must be in the 'active' state. Current state is deleted.`,
        );
      }
      const run: FakeRun = {
        id: createHash("md5").update(`run ${state.runs.size}`).digest("hex"),
        experimentId: experiment.id,
        name: String(body["run_name"]),
        startedAt: Number(body["start_time"]),
        status: "RUNNING",
        endedAt: undefined,
        isDeleted: false,
        tags: new Map((body.tags ?? []).map(({ key, value }) => [key, value])),
        params: new Map(),
        metrics: new Set(),
        artifacts: new Map(),
        history: ["create"],
      };
      state.runs.set(run.id, run);
      return { run: toWire(run) };
    },
    "runs/search"(body) {
      const filter = /^tags\.`([\w.]+)` = '(\w+)'$/.exec(String(body["filter"]));
      if (filter === null)
        throw invalid(`Invalid clause(s) in filter string: ${String(body["filter"])}`);
      const [, tag = "", value = ""] = filter;
      const ids = body["experiment_ids"] as readonly string[];
      const runs = [...state.runs.values()].filter(
        (run) => ids.includes(run.experimentId) && !run.isDeleted && run.tags.get(tag) === value,
      );
      return runs.length === 0 ? {} : { runs: runs.map(toWire) };
    },
  };
}

function changes(state: FakeState): Handlers {
  return {
    "runs/log-batch"(body) {
      const { params = [], tags = [], metrics = [] } = body;
      checkBatch(params, tags, metrics);
      const run = activeRun(state, body.run_id);
      for (const { key, value } of params) {
        const old = run.params.get(key);
        if (old !== undefined && old !== value) {
          throw invalid(
            `Changing param values is not allowed. Params were already logged='${key}'`,
          );
        }
      }
      for (const { key, value } of params) run.params.set(key, value);
      for (const { key, value } of tags) run.tags.set(key, value);
      for (const one of metrics) {
        run.metrics.add(JSON.stringify([one.key, one.value, one.timestamp, one.step]));
      }
      run.history.push("batch");
      return {};
    },
    "runs/update"(body) {
      const run = activeRun(state, body.run_id);
      run.status = String(body["status"]);
      if (body["end_time"] !== undefined) run.endedAt = Number(body["end_time"]);
      run.history.push(run.status);
      return { run_info: toWire(run).info };
    },
    "runs/delete"(body) {
      activeRun(state, body.run_id).isDeleted = true;
      return {};
    },
  };
}

function activeRun(state: FakeState, id: string | undefined): FakeRun {
  const run = state.runs.get(id ?? "");
  if (run === undefined) throw missing(`Run with id=${id} not found`);
  const experiment = state.experiments.get(run.experimentId);
  if (run.isDeleted || experiment?.isDeleted === true) {
    throw invalid(`The run ${id} must be in the 'active' state. Current state is deleted.`);
  }
  return run;
}

function checkBatch(
  params: readonly Pair[],
  tags: readonly Pair[],
  metrics: readonly Metric[],
): void {
  if (metrics.length > 1_000 || params.length > 100 || tags.length > 100) {
    throw invalid("A batch logging request can contain at most 1000 metrics. Please split up");
  }
  if (metrics.length + params.length + tags.length > 1_000) {
    throw invalid("A batch logging request can contain at most 1000 metrics, params, and tags");
  }
  for (const { key } of [...params, ...tags, ...metrics]) checkName(key);
  if (new Set(params.map(({ key }) => key)).size < params.length) {
    throw invalid("Duplicate parameter keys have been submitted");
  }
  for (const { value, timestamp } of metrics) {
    const isNumber = typeof value === "number" || ["NaN", "Infinity", "-Infinity"].includes(value);
    if (!isNumber || timestamp < 0) throw invalid("Please specify value as a valid double");
  }
}

/** `validate_param_and_metric_name`, `path_not_unique` and the length limit of MLflow. */
function checkName(name: string): void {
  const normal = posix.normalize(name).replace(/(?<=.)\/$/, "");
  const isPlain =
    normal === name && name !== "." && !/^(?:\.\.|\/)/.test(name) && !name.endsWith("/");
  if (name === "" || !/^[/\p{L}\p{N}_.\- :]*$/u.test(name) || !isPlain) {
    throw invalid(
      `Invalid value "${name}" for parameter supplied: Names may only contain alphanumerics`,
    );
  }
  if (Array.from(name).length > 250)
    throw invalid("'Param key' exceeds the maximum length of 250 characters");
}

function toWire(run: FakeRun) {
  return {
    info: {
      run_id: run.id,
      experiment_id: run.experimentId,
      status: run.status,
      artifact_uri: `mlflow-artifacts:/${run.experimentId}/${run.id}/artifacts`,
    },
    data: {
      tags: pairs(run.tags),
      params: pairs(run.params),
      metrics: [...run.metrics].map((one) => ({ key: one })),
    },
  };
}

function pairs(map: ReadonlyMap<string, string>) {
  return Array.from(map, ([key, value]) => ({ key, value }));
}
