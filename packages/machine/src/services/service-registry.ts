/**
 * Knows all services of the machine and how they are. Invariants:
 * I1  what it answers was computed before it was asked: reading costs no I/O and no look at a service;
 * I2  a state changes by a transition, and every transition is in the history, in the journal and
 *     told to every listener, in this order;
 * I3  one source or listener that throws harms no other.
 */
import type { AgentLog } from "@holdfast/agent";
import type { Clock, Service } from "@holdfast/runtime";
import { summarizeMachine, type MachineSummary } from "./machine-summary.ts";
import type { ServiceReport, ServiceSource, ServiceTransition } from "./model.ts";
import { computeReports } from "./service-reports.ts";
import { createTransitionHistory } from "./transition-history.ts";
import type { TransitionJournal } from "./transition-journal.ts";
import { createWakeablePause } from "./wakeable-pause.ts";

/** Something that listeners are told. */
export type ServiceChange =
  | {
      readonly kind: "transition";
      readonly report: ServiceReport;
      readonly transition: ServiceTransition;
    }
  | { readonly kind: "removed"; readonly name: string };

/** What may be read of the services, at any time and at no cost. */
export interface ServiceView {
  /** In the order they were added. A new list whenever anything was computed anew. */
  reports(): readonly ServiceReport[];
  report(name: string): ServiceReport | undefined;
  summary(): MachineSummary;
  /** All that are kept, oldest first; also of a service that was removed. */
  transitions(name: string): readonly ServiceTransition[];
  /** Log files of a service, the one written last at the end; undefined when there is none of this name. */
  logFiles(name: string): readonly string[] | undefined;
}

/** See the head of this file. Runs from `start` to `stop`; can be read before and after. */
export interface ServiceRegistry extends ServiceView, Service {
  /** Throws when there is one of this name, or no room for more. */
  add(source: ServiceSource): void;
  /** Does nothing when there is none. */
  remove(name: string): void;
  /** From now on these and no others. Those with a name as before keep their history. */
  replace(sources: readonly ServiceSource[]): void;
  /** Something changed: looked at again soon, many changes together. */
  touch(): void;
  /** Tells changes until the function that is returned is called. Listeners must not wait. */
  subscribe(listener: (change: ServiceChange) => void): () => void;
}

/** How to make a registry. */
export interface RegistryOptions {
  readonly clock: Clock;
  readonly log: AgentLog;
  /** Without one, transitions are forgotten when the program ends. */
  readonly journal?: TransitionJournal;
  /** Sources are looked at this often when nobody tells a change. */
  readonly everyMs?: number;
  /** However many changes are told, sources are not looked at again sooner. */
  readonly restMs?: number;
}

const DEFAULT_EVERY_MS = 1_000;
const DEFAULT_REST_MS = 50;
/** Sixty-four instances, a hundred services of the manifest, and room. */
const SERVICES_MAX = 300;
/** Makes a registry without services. */
export function createServiceRegistry(options: RegistryOptions): ServiceRegistry {
  const { clock, log, journal } = options;
  let sources: ReadonlyMap<string, ServiceSource> = new Map();
  const history = createTransitionHistory(journal?.restored);
  const listeners = createListeners(log);
  const pause = createWakeablePause(clock);
  let reports: readonly ServiceReport[] = [];
  let byName: ReadonlyMap<string, ServiceReport> = new Map();
  let summary = summarizeMachine([]);
  let stopping = new AbortController();
  let running: Promise<void> | undefined;

  const refresh = (): void => {
    const computed = computeReports([...sources.values()], history, clock.now());
    reports = computed.reports;
    byName = new Map(reports.map((report) => [report.name, report]));
    summary = summarizeMachine(reports);
    // Only now, so that a listener that reads finds what it is told of (I2).
    for (const change of computed.transitions) {
      journal?.append({ service: change.report.name, ...change.transition });
      logTransition(log, change.report.name, change.transition);
      listeners.tell({ kind: "transition", ...change });
    }
  };

  const take = (next: readonly ServiceSource[]): void => {
    const before = sources;
    sources = toSources(next);
    refresh();
    for (const name of before.keys()) {
      if (!sources.has(name)) listeners.tell({ kind: "removed", name });
    }
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      pause.forget();
      refresh();
      // A rest that no wake cuts short, then the pause that each does.
      await clock.sleep(options.restMs ?? DEFAULT_REST_MS, signal).catch(() => undefined);
      await pause.pause(options.everyMs ?? DEFAULT_EVERY_MS, signal);
    }
  };

  return {
    name: "service registry",
    reports: () => reports,
    report: (name) => byName.get(name),
    summary: () => summary,
    transitions: (name) => history.transitions(name),
    logFiles: (name) => filesOf(sources.get(name), log),
    add: (source) => take([...sources.values(), source]),
    remove: (name) => take([...sources.values()].filter((source) => source.name !== name)),
    replace: (next) => take(next),
    touch() {
      if (running === undefined) refresh();
      else pause.wake();
    },
    subscribe: (listener) => listeners.add(listener),
    async start() {
      if (running !== undefined) return;
      stopping = new AbortController();
      running = run(stopping.signal);
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      await running;
      running = undefined;
      await journal?.flush();
    },
  };
}

/** By name. Throws before anything has changed: half of them would be a machine that nobody asked for. */
function toSources(list: readonly ServiceSource[]): ReadonlyMap<string, ServiceSource> {
  if (list.length > SERVICES_MAX) {
    throw new Error(`a machine has at most ${SERVICES_MAX} services, found ${list.length}`);
  }
  const sources = new Map<string, ServiceSource>();
  for (const source of list) {
    const { name } = source;
    if (sources.has(name)) throw new Error(`two services are called ${name}: rename one of them`);
    sources.set(name, source);
  }
  return sources;
}

function filesOf(source: ServiceSource | undefined, log: AgentLog): readonly string[] | undefined {
  try {
    return source?.logFiles();
  } catch (err) {
    log.warn({ err, service: source?.name }, "log files of a service cannot be told");
    return [];
  }
}

function logTransition(log: AgentLog, service: string, transition: ServiceTransition): void {
  const { from, to, reason } = transition;
  const fields = { service, from, to, reason };
  // What was well and is not is for a person's eyes; everything else is the usual way up or down.
  if (to === "unhealthy" || (from === "healthy" && to !== "not_configured")) {
    log.warn(fields, "service changed state");
  } else log.info(fields, "service changed state");
}

/** Those who want to be told. */
interface Listeners {
  add(listener: (change: ServiceChange) => void): () => void;
  tell(change: ServiceChange): void;
}

function createListeners(log: AgentLog): Listeners {
  const all = new Set<(change: ServiceChange) => void>();
  return {
    add(listener) {
      all.add(listener);
      return () => void all.delete(listener);
    },
    tell(change) {
      for (const listener of all) {
        try {
          listener(change);
        } catch (err) {
          log.error({ err, change: change.kind }, "a listener of service changes failed"); // I3
        }
      }
    },
  };
}
