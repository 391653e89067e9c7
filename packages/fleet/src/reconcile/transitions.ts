/** How a machine's row changes by what is done about it. Pure; whoever keeps the rows writes the result. */
import { backoffMs, invariant, type BackoffPolicy, type Random } from "@holdfast/runtime";
import type { FailureKind } from "../lifespan.ts";
import type { ProvidedMachine, ProviderKind, ProviderTrouble } from "../provider/model.ts";
import { FLEET_TRANSITIONS, type FleetMachine, type FleetMachineState } from "./model.ts";

/** A provider that is asked in vain is asked again after these. */
const ASK_BACKOFF: BackoffPolicy = { initialMs: 5_000, factor: 2, maxMs: 60_000, jitter: 0.2 };

/** A machine that is wanted: written down before anybody is asked for it. */
export function wantedMachine(
  given: Pick<FleetMachine, "id" | "name" | "pool" | "provider" | "offer" | "pricePerHour">,
  now: number,
): FleetMachine {
  return {
    ...given,
    state: "asked",
    ref: null,
    offerIndex: 0,
    askedAt: now,
    askedCount: 0,
    unsureUntil: null,
    nextAskAt: now,
    createdAt: null,
    healthyAt: null,
    drainingSince: null,
    end: null,
    terminatedAt: null,
  };
}

/** One that somebody else started, or that was found at its provider. */
export function foundMachine(
  given: Pick<FleetMachine, "id" | "name" | "pool"> & { readonly provider: ProviderKind },
  provided: ProvidedMachine | null,
  now: number,
): FleetMachine {
  const { ref = null, offer = null, pricePerHour = null } = provided ?? {};
  const wanted = wantedMachine({ ...given, offer, pricePerHour }, now);
  return { ...wanted, state: "starting", ref, createdAt: now };
}

/** Before its provider is asked: from here on it may be made, until `unsureUntil`. */
export function asking(machine: FleetMachine, unsureUntil: number): FleetMachine {
  invariant(machine.state === "asked", "only a machine that is asked for is asked for");
  return { ...machine, askedCount: machine.askedCount + 1, unsureUntil };
}

/** It exists. */
export function made(machine: FleetMachine, provided: ProvidedMachine, now: number): FleetMachine {
  return {
    ...enter(machine, "starting"),
    ref: provided.ref,
    offer: provided.offer ?? machine.offer,
    pricePerHour: provided.pricePerHour ?? machine.pricePerHour,
    createdAt: now,
    unsureUntil: null,
  };
}

/** Its provider did not make it, or nobody knows whether it did. */
export function notMade(
  machine: FleetMachine,
  { kind, retryAfterMs, mayHaveHappened }: ProviderTrouble,
  now: number,
  random: Random,
): FleetMachine {
  // I1 of the decision: only its list tells now.
  const unsureUntil = mayHaveHappened ? machine.unsureUntil : null;
  const pauseMs = retryAfterMs ?? backoffMs(ASK_BACKOFF, machine.askedCount, random);
  switch (kind) {
    case "capacity":
      // The next offer at once; that there was none says nothing against anybody.
      return { ...machine, unsureUntil, offerIndex: machine.offerIndex + 1, askedCount: 0 };
    case "rate_limited":
      return {
        ...machine,
        unsureUntil,
        nextAskAt: now + pauseMs,
        askedCount: Math.max(0, machine.askedCount - 1),
      };
    case "unauthorized":
    case "invalid":
      return ended({ ...machine, unsureUntil }, now, {
        cause: "intended",
        kind: null,
        reason: "its provider refuses the request",
      });
    default:
      return { ...machine, unsureUntil, nextAskAt: now + pauseMs };
  }
}

/** It was healthy for the first time. */
export function ready(machine: FleetMachine, now: number): FleetMachine {
  return { ...enter(machine, "ready"), healthyAt: machine.healthyAt ?? now };
}

/** It takes no more jobs. */
export function draining(machine: FleetMachine, now: number): FleetMachine {
  return { ...enter(machine, "draining"), drainingSince: now };
}

/** It was to end, and is needed after all. */
export function kept(machine: FleetMachine): FleetMachine {
  return { ...enter(machine, "ready"), drainingSince: null };
}

/** It counts as ended from now on; what is left of it is ended next. */
export function ended(
  machine: FleetMachine,
  now: number,
  end: {
    readonly cause: "failed" | "intended";
    readonly kind: FailureKind | null;
    readonly reason: string;
  },
): FleetMachine {
  return { ...enter(machine, "ending"), end: { at: now, ...end } };
}

/** Its provider was told to end it. */
export function terminated(machine: FleetMachine, now: number): FleetMachine {
  return { ...machine, terminatedAt: now };
}

/** Its provider could not be told: it is told again later. */
export function notTerminated(machine: FleetMachine, nextAskAt: number): FleetMachine {
  return { ...machine, nextAskAt };
}

/** It is gone. */
export function gone(machine: FleetMachine): FleetMachine {
  return { ...enter(machine, "ended"), unsureUntil: null };
}

function enter(machine: FleetMachine, state: FleetMachineState): FleetMachine {
  const isAllowed = FLEET_TRANSITIONS[machine.state].includes(state);
  invariant(isAllowed, `a machine that is ${machine.state} cannot become ${state}`);
  return { ...machine, state };
}
