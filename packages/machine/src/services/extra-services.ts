/** The services that a manifest names beside ComfyUI, as sources for the registry and as runners. */
import type { Service } from "@holdfast/runtime";
import type { ExtraService, ServiceCheck } from "../manifest/model.ts";
import { dependencyGroups } from "./dependency-order.ts";
import { NO_CHECK, NOTHING_INSTALLED, notConfiguredSource } from "./fixed-facts.ts";
import { createHttpCheck, type HttpCheck } from "./http-check.ts";
import type { ServiceFacts, ServiceSource } from "./model.ts";
import type { Probe } from "./probe.ts";
import {
  createProcessService,
  type ProcessService,
  type ProcessServicePorts,
} from "./process-service.ts";

/** How to make them. */
export interface ExtraServicesOptions extends ProcessServicePorts {
  readonly services: readonly ExtraService[];
  readonly probe: Probe;
}

/**
 * All services of a manifest. `stop` ends the processes among them: first those that nothing else needs,
 * and what they need only when they have ended.
 */
export interface ExtraServices extends Service {
  /** One for each, in the manifest's order; those that are not enabled included. */
  readonly sources: readonly ServiceSource[];
  /** Ends looking, and leaves the processes running for the next agent. */
  letGo(): Promise<void>;
  /** Tries a process again that was given up; false when none of this name is run here. */
  retry(name: string): boolean;
}

/** One enabled service and what runs for it. */
interface Runner {
  readonly name: string;
  readonly dependsOn: readonly string[];
  readonly source: ServiceSource;
  readonly process: ProcessService | null;
  start(): Promise<void>;
  stop(): Promise<void>;
  letGo(): Promise<void>;
}

/** A process may fail its check for so long after its start. */
const START_GRACE_MS = 60_000;
const MS_PER_SECOND = 1_000;

const ELSEWHERE: ServiceFacts["runtime"] = {
  state: "elsewhere",
  pid: null,
  startedAt: null,
  restarts: 0,
  detail: null,
};

/** Makes the services; nothing runs before `start`. */
export function createExtraServices(options: ExtraServicesOptions): ExtraServices {
  const runners = options.services
    .filter(({ enabled }) => enabled)
    .map((service) => createRunner(service, options));
  const byName = new Map(runners.map((runner) => [runner.name, runner]));
  const groups = dependencyGroups(runners);
  const sources = options.services.map(
    (service) => byName.get(service.name)?.source ?? disabledSource(service),
  );
  return {
    name: "services of the manifest",
    sources,
    async start() {
      for (const runner of runners) await runner.start();
    },
    async stop() {
      const failures: unknown[] = [];
      for (const group of groups.toReversed()) {
        const ended = await Promise.allSettled(group.map((runner) => runner.stop()));
        for (const one of ended) if (one.status === "rejected") failures.push(one.reason);
      }
      if (failures.length > 0) throw new AggregateError(failures, tellFailures(failures));
    },
    async letGo() {
      await Promise.all(runners.map((runner) => runner.letGo()));
    },
    retry(name) {
      const process = byName.get(name)?.process ?? null;
      process?.retry();
      return process !== null;
    },
  };
}

function createRunner(service: ExtraService, options: ExtraServicesOptions): Runner {
  const { name, dependsOn, process, check } = service;
  if (process !== undefined) {
    const own = createProcessService({
      ...options,
      service,
      process,
      check: check === undefined ? null : makeCheck(check, START_GRACE_MS, options),
    });
    return {
      name,
      dependsOn,
      source: own.source,
      process: own,
      start: () => own.start(),
      stop: () => own.stop(),
      letGo: () => own.letGo(),
    };
  }
  const looked = check === undefined ? null : makeCheck(check, 0, options);
  const end = async (): Promise<void> => await looked?.stop();
  return {
    name,
    dependsOn,
    source: checkSource(service, looked),
    process: null,
    start: async () => await looked?.start(),
    stop: end,
    letGo: end,
  };
}

function makeCheck(check: ServiceCheck, graceMs: number, options: ExtraServicesOptions): HttpCheck {
  const { clock, probe, onChange } = options;
  return createHttpCheck({
    url: check.url,
    expectStatus: check.expectStatus,
    timeoutMs: check.timeoutSec * MS_PER_SECOND,
    everyMs: check.everySec * MS_PER_SECOND,
    failures: check.failures,
    graceMs,
    clock,
    probe,
    onChange,
  });
}

/** Something that runs elsewhere: a check is all that is known of it. */
function checkSource(service: ExtraService, check: HttpCheck | null): ServiceSource {
  return {
    name: service.name,
    kind: "check",
    dependsOn: service.dependsOn,
    facts: () => ({
      isConfigured: true,
      installation: NOTHING_INSTALLED,
      runtime: ELSEWHERE,
      check: check?.status() ?? NO_CHECK,
    }),
    details: () => ({}),
    logFiles: () => [],
  };
}

function disabledSource({ name, process, dependsOn }: ExtraService): ServiceSource {
  const kind = process === undefined ? "check" : "process";
  return notConfiguredSource(name, kind, "`enabled: false` in the manifest", dependsOn);
}

function tellFailures(failures: readonly unknown[]): string {
  return failures.map((one) => (one instanceof Error ? one.message : String(one))).join("; ");
}
