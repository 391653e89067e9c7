/** The services that a manifest names beside ComfyUI, as sources for the registry and as runners. */
import type { Service } from "@holdfast/runtime";
import type { ExtraService, ServiceCheck } from "../manifest/model.ts";
import { dependencyGroups } from "./dependency-order.ts";
import { NO_CHECK, NOTHING_INSTALLED, notConfiguredSource } from "./fixed-facts.ts";
import { createHttpCheck, type HttpCheck } from "./http-check.ts";
import type { ServiceFacts, ServiceSource } from "./model.ts";
import type { Probe } from "./probe.ts";
import { createProcessService, type ProcessServicePorts } from "./process-service.ts";
import { UnwantedProcesses, type UnwantedProcessesOptions } from "./unwanted-processes.ts";

/** How to make them. */
export interface ExtraServicesOptions
  extends ProcessServicePorts, Pick<UnwantedProcessesOptions, "livingNames"> {
  readonly services: readonly ExtraService[];
  readonly probe: Probe;
  /** A name of a process that is none of these services, and is looked after by somebody else. */
  readonly isAnothers: (name: string) => boolean;
}

/**
 * All services of a manifest. `start` also ends processes of services that no manifest wants any more
 * (`unwanted-processes.ts`). `stop` ends the processes among them: first those that nothing else needs,
 * and what they need only when they have ended.
 */
export interface ExtraServices extends Service {
  /** One for each, in the manifest's order; those that are not enabled included. */
  sources(): readonly ServiceSource[];
  /**
   * From now on these. One whose text in the manifest is the same goes on as it is; the others are
   * ended, new ones started. Throws in words, after all was tried, when some could not be ended.
   */
  replace(services: readonly ExtraService[]): Promise<void>;
  /** Ends looking, and leaves the processes running for the next agent. */
  letGo(): Promise<void>;
}

/** One enabled service and what runs for it. */
interface Runner {
  readonly name: string;
  readonly dependsOn: readonly string[];
  readonly source: ServiceSource;
  /** It is a process of this machine's; else something elsewhere that is only looked at. */
  readonly hasProcess: boolean;
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

/** A service as the manifest has it, with what runs for it; null: it is not enabled. */
interface Entry {
  readonly text: string;
  readonly source: ServiceSource;
  readonly runner: Runner | null;
}

/** Makes the services; nothing runs before `start`. */
export function createExtraServices(options: ExtraServicesOptions): ExtraServices {
  return new ManifestServices(options);
}

class ManifestServices implements ExtraServices {
  readonly name = "services of the manifest";
  readonly #options: ExtraServicesOptions;
  #entries: readonly Entry[];
  readonly #unwanted: UnwantedProcesses;
  #isRunning = false;

  constructor(options: ExtraServicesOptions) {
    this.#options = options;
    this.#entries = options.services.map((service) => this.#make(service));
    const isWanted = (name: string): boolean =>
      options.isAnothers(name) ||
      this.#runners().some((runner) => runner.name === name && runner.hasProcess);
    this.#unwanted = new UnwantedProcesses({ ...options, isWanted });
  }

  sources(): readonly ServiceSource[] {
    return this.#entries.map(({ source }) => source);
  }

  async start(): Promise<void> {
    this.#isRunning = true;
    for (const runner of this.#runners()) await runner.start();
    this.#unwanted.begin();
  }

  async replace(services: readonly ExtraService[]): Promise<void> {
    const before = new Map(this.#entries.map((entry) => [entry.text, entry]));
    const next = services.map((service) => before.get(textOf(service)) ?? this.#make(service));
    const gone = this.#entries.filter((entry) => !next.includes(entry));
    this.#entries = next;
    const failures = await endAll(runnersOf(gone));
    // Those that go on are started already, which is well.
    if (this.#isRunning) await this.start();
    if (failures.length > 0) throw new AggregateError(failures, tellFailures(failures));
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await this.#unwanted.end();
    const failures = await endAll(this.#runners());
    if (failures.length > 0) throw new AggregateError(failures, tellFailures(failures));
  }

  async letGo(): Promise<void> {
    this.#isRunning = false;
    await this.#unwanted.end();
    await Promise.all(this.#runners().map((runner) => runner.letGo()));
  }

  #runners(): readonly Runner[] {
    return runnersOf(this.#entries);
  }

  #make(service: ExtraService): Entry {
    const runner = service.enabled ? createRunner(service, this.#options) : null;
    return { text: textOf(service), source: runner?.source ?? disabledSource(service), runner };
  }
}

function textOf(service: ExtraService): string {
  return JSON.stringify(service);
}

function runnersOf(entries: readonly Entry[]): readonly Runner[] {
  return entries.flatMap(({ runner }) => runner ?? []);
}

/** Ends first what nothing else needs; what could not be ended. */
async function endAll(runners: readonly Runner[]): Promise<readonly unknown[]> {
  const failures: unknown[] = [];
  for (const group of dependencyGroups(runners).toReversed()) {
    const ended = await Promise.allSettled(group.map((runner) => runner.stop()));
    for (const one of ended) if (one.status === "rejected") failures.push(one.reason);
  }
  return failures;
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
      hasProcess: true,
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
    hasProcess: false,
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
