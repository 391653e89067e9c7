/** The instances as services: one of each, and `comfyui`, which is all of them together. */
import type {
  CheckStatus,
  InstallationStatus,
  ServiceFacts,
  ServiceSource,
} from "../services/model.ts";
import type { MachinePlaces } from "../machine-places.ts";
import { instancePlaces } from "./process-spec.ts";
import type { InstanceStatus } from "./supervisor-status.ts";

/** Name of the service that stands for all instances. */
export const COMFYUI_SERVICE = "comfyui";

/** Settings of {@link createInstanceServices}. */
export interface InstanceServicesOptions {
  readonly places: MachinePlaces;
  /** The manifest has a ComfyUI. */
  readonly isConfigured: () => boolean;
  readonly installation: () => InstallationStatus;
  /** The supervisor's. */
  readonly statuses: () => readonly InstanceStatus[];
  readonly status: (name: string) => InstanceStatus | undefined;
  /** Why not all that is asked for is planned, in words; null when it is. */
  readonly planProblem?: () => string | null;
  /** Services that every instance needs. */
  readonly dependsOn?: readonly string[];
}

/** Sources for the registry of services. */
export interface InstanceServices {
  readonly aggregate: ServiceSource;
  /** The same source for the same name each time; those of instances that are gone are left out. */
  instances(): readonly ServiceSource[];
}

/** Makes the sources. */
export function createInstanceServices(options: InstanceServicesOptions): InstanceServices {
  const sources = new Map<string, ServiceSource>();
  return {
    aggregate: aggregateSource(options),
    instances() {
      const names = options.statuses().map(({ name }) => name);
      for (const name of sources.keys()) if (!names.includes(name)) sources.delete(name);
      return names.map((name) => {
        const source = sources.get(name) ?? instanceSource(options, name);
        sources.set(name, source);
        return source;
      });
    },
  };
}

const GONE: Pick<ServiceFacts, "runtime" | "check"> = {
  runtime: {
    state: "stopped",
    pid: null,
    startedAt: null,
    restarts: 0,
    detail: "it is no longer in the plan",
  },
  check: { state: "pending", detail: null, checkedAt: null },
};

function instanceSource(options: InstanceServicesOptions, name: string): ServiceSource {
  return {
    name,
    kind: "instance",
    dependsOn: options.dependsOn ?? [],
    facts() {
      const { runtime, check } = options.status(name) ?? GONE;
      return {
        isConfigured: options.isConfigured(),
        installation: options.installation(),
        runtime,
        check,
      };
    },
    details() {
      const status = options.status(name);
      return status === undefined ? {} : detailsOf(status);
    },
    logFiles() {
      const { outFile, errorFile } = instancePlaces(options.places, name);
      return [outFile, errorFile];
    },
  };
}

function detailsOf(status: InstanceStatus): Readonly<Record<string, unknown>> {
  const { plan } = status;
  return {
    url: status.url,
    port: status.port,
    gpu: plan.gpu,
    isCurrent: status.isCurrent,
    isManaged: status.isManaged,
    memoryBytes: status.memoryBytes,
    recycleAboveBytes: plan.recycleAboveBytes,
    memoryLimitBytes: plan.memoryLimitBytes,
    draining: status.draining,
    blocked: status.blocked,
    nextStartAt: status.nextStartAt,
    exits: status.exits,
  };
}

function aggregateSource(options: InstanceServicesOptions): ServiceSource {
  return {
    name: COMFYUI_SERVICE,
    kind: "comfyui",
    get dependsOn() {
      return options.statuses().map(({ name }) => name);
    },
    facts: () => ({
      isConfigured: options.isConfigured(),
      installation: options.installation(),
      ...togetherOf(options.statuses(), options.planProblem?.() ?? null),
    }),
    details: () => countsOf(options.statuses()),
    logFiles: () =>
      options.statuses().flatMap(({ name }) => {
        const { outFile, errorFile } = instancePlaces(options.places, name);
        return [outFile, errorFile];
      }),
  };
}

/** Runtime and check of all instances as if they were one; pure. */
export function togetherOf(
  all: readonly InstanceStatus[],
  planProblem: string | null,
): Pick<ServiceFacts, "runtime" | "check"> {
  const restarts = all.reduce((sum, { runtime }) => sum + runtime.restarts, 0);
  const common = { pid: null, restarts };
  if (all.length === 0) {
    const detail = planProblem ?? "no instance is planned";
    return {
      runtime: { ...common, state: "stopped", startedAt: null, detail },
      check: { state: "pending", detail: null, checkedAt: null },
    };
  }
  const state = (["running", "starting", "stopping", "crash_loop", "stopped"] as const).find(
    (wanted) => all.some(({ runtime }) => runtime.state === wanted),
  );
  const starts = all.flatMap(({ runtime }) => runtime.startedAt ?? []);
  return {
    runtime: {
      ...common,
      state: state ?? "stopped",
      startedAt: starts.length === 0 ? null : Math.min(...starts),
      detail: state === "running" ? null : namesOf(all),
    },
    check: checkOf(all, planProblem),
  };
}

/** Well only when every instance is, and every one that is asked for is planned: what is not is named. */
function checkOf(all: readonly InstanceStatus[], planProblem: string | null): CheckStatus {
  const checkedAt = all.reduce<number | null>(
    (latest, { check }) =>
      check.checkedAt === null ? latest : Math.max(latest ?? 0, check.checkedAt),
    null,
  );
  const bad = all.filter(
    ({ check, runtime }) =>
      runtime.state === "stopping" || (check.state !== "passing" && check.state !== "none"),
  );
  if (planProblem !== null) {
    const detail = [planProblem, ...(bad.length === 0 ? [] : [namesOf(bad)])].join("; ");
    return { state: "failing", detail, checkedAt };
  }
  if (bad.length === 0) return { state: "passing", detail: null, checkedAt };
  // On their way, and nothing has failed yet: others may serve meanwhile. What is being ended fails
  // its check because of that.
  const isPending = bad.every(
    ({ check, runtime }) =>
      runtime.state === "stopping" || (check.state === "pending" && runtime.state === "starting"),
  );
  return { state: isPending ? "pending" : "failing", detail: namesOf(bad), checkedAt };
}

function namesOf(some: readonly InstanceStatus[]): string {
  return some
    .map(({ name, runtime, check }) => {
      const why = check.detail ?? runtime.detail;
      return `${name} is ${wordOf(runtime.state, check.state)}${why === null ? "" : ` (${why})`}`;
    })
    .join("; ");
}

function wordOf(runtime: InstanceStatus["runtime"]["state"], check: CheckStatus["state"]): string {
  if (runtime === "running") return check === "failing" ? "unhealthy" : "running";
  return runtime === "crash_loop" ? "in a crash loop" : runtime;
}

function countsOf(all: readonly InstanceStatus[]): Readonly<Record<string, unknown>> {
  const count = (is: (status: InstanceStatus) => boolean): number => all.filter(is).length;
  const { length: planned } = all;
  const healthy = count(({ check }) => check.state === "passing");
  const runtime = (state: string): number => count((status) => status.runtime.state === state);
  return {
    planned,
    healthy,
    unhealthy: count(({ check }) => check.state === "failing"),
    starting: runtime("starting"),
    stopped: runtime("stopped"),
    stopping: runtime("stopping"),
    crashLoop: runtime("crash_loop"),
    draining: count(({ draining }) => draining !== null),
    instances: all.map(({ name, url, plan }) => ({ name, url, gpu: plan.gpu?.uuid ?? null })),
  };
}
