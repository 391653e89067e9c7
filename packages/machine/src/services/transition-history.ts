/** Which state each service is in since when, and how it got there: bounded, and fed from before. */
import type { ServiceState, ServiceTransition } from "./model.ts";

/** A transition with the service that made it: one line of the journal. */
export interface ServiceTransitionEntry extends ServiceTransition {
  readonly service: string;
}

/** How a service stands. */
export interface StateSince {
  readonly state: ServiceState;
  readonly since: number;
}

/** Remembers transitions by service. */
export interface TransitionHistory {
  /** Notes the state of now; the transition, when it is another state than before. */
  note(service: string, state: ServiceState, reason: string, at: number): ServiceTransition | null;
  /** Undefined for a service that was never noted. */
  standing(service: string): StateSince | undefined;
  /** Oldest first. */
  transitions(service: string): readonly ServiceTransition[];
}

/** Transitions kept of one service. */
export const TRANSITIONS_PER_SERVICE = 100;
/** Services remembered, those that are gone included. */
const SERVICES_MAX = 1_000;

/**
 * Makes a history. A service that is found in the state it was last seen in before a restart has been
 * in it since then, as far as anybody can tell: that is no transition.
 */
export function createTransitionHistory(
  restored: readonly ServiceTransitionEntry[] = [],
): TransitionHistory {
  const byService = new Map<string, ServiceTransition[]>();
  const push = (service: string, transition: ServiceTransition): void => {
    const kept = byService.get(service) ?? [];
    // To the end of the map: what changed last is forgotten last.
    byService.delete(service);
    byService.set(service, [...kept.slice(1 - TRANSITIONS_PER_SERVICE), transition]);
    if (byService.size > SERVICES_MAX) {
      const oldest = byService.keys().next();
      if (oldest.done !== true) byService.delete(oldest.value);
    }
  };
  for (const { service, ...transition } of restored) push(service, transition);
  const standing = (service: string): StateSince | undefined => {
    const last = byService.get(service)?.at(-1);
    return last === undefined ? undefined : { state: last.to, since: last.at };
  };
  return {
    note(service, state, reason, at) {
      const from = standing(service)?.state ?? null;
      if (from === state) return null;
      const transition: ServiceTransition = { at, from, to: state, reason };
      push(service, transition);
      return transition;
    },
    standing,
    transitions: (service) => byService.get(service) ?? [],
  };
}
