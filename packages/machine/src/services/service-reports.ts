/** From sources to reports: one look at each, and what has changed since the look before. */
import type {
  DependencyHealth,
  ServiceFacts,
  ServiceReport,
  ServiceSource,
  ServiceState,
  ServiceTransition,
} from "./model.ts";
import { decideServiceState, oneLine, withDependencies } from "./service-state.ts";
import type { TransitionHistory } from "./transition-history.ts";

/** What a look at all services gave. */
export interface ComputedReports {
  readonly reports: readonly ServiceReport[];
  /** In the order of the reports. */
  readonly transitions: readonly {
    readonly report: ServiceReport;
    readonly transition: ServiceTransition;
  }[];
}

/** Transitions that a report carries; the history has more. */
const REPORTED_TRANSITIONS = 10;

const UNREADABLE: ServiceFacts = {
  isConfigured: true,
  installation: { state: "none", detail: null, version: null },
  runtime: { state: "elsewhere", pid: null, startedAt: null, restarts: 0, detail: null },
  check: { state: "failing", detail: null, checkedAt: null },
};

/** What one look at a source gave. */
interface Look {
  readonly source: ServiceSource;
  readonly facts: ServiceFacts;
  readonly details: Readonly<Record<string, unknown>>;
  readonly state: ServiceState;
  readonly reason: string;
}

/** Looks at every source, and notes changes of state in the history. A source that throws is unhealthy. */
export function computeReports(
  sources: readonly ServiceSource[],
  history: TransitionHistory,
  now: number,
): ComputedReports {
  const looks = sources.map(lookAt);
  const states = new Map(looks.map(({ source, state }) => [source.name, state]));
  const transitions: ComputedReports["transitions"][number][] = [];
  const reports = looks.map((look) => {
    const { name } = look.source;
    const dependencies = dependenciesOf(look.source, states);
    const reason = withDependencies(look.reason, dependencies);
    const transition = history.note(name, look.state, reason, now);
    const report = toReport(
      { ...look, reason },
      {
        dependencies,
        transitions: history.transitions(name).slice(-REPORTED_TRANSITIONS),
        since: history.standing(name)?.since ?? now,
      },
    );
    if (transition !== null) transitions.push({ report, transition });
    return report;
  });
  return { reports, transitions };
}

function lookAt(source: ServiceSource): Look {
  try {
    const facts = source.facts();
    return { source, facts, details: source.details(), ...decideServiceState(facts) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const reason = oneLine(`its facts cannot be read: ${why}`);
    return { source, facts: UNREADABLE, details: {}, state: "unhealthy", reason };
  }
}

/** A dependency that no service is called is as good as not configured. */
function dependenciesOf(
  source: ServiceSource,
  states: ReadonlyMap<string, ServiceState>,
): readonly DependencyHealth[] {
  return source.dependsOn.map((name) => ({ name, state: states.get(name) ?? "not_configured" }));
}

function toReport(
  { source, facts, details, state, reason }: Look,
  rest: Pick<ServiceReport, "dependencies" | "transitions" | "since">,
): ServiceReport {
  const { name, kind } = source;
  // Field by field: a source may know more of itself than is told.
  const { isConfigured, installation, runtime, check } = facts;
  return {
    name,
    kind,
    state,
    reason,
    ...rest,
    isConfigured,
    installation,
    runtime,
    check,
    details,
  };
}
