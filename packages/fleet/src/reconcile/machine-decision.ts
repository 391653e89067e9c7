/**
 * What to do next about one machine. Pure.
 *
 * I1. A provider is asked for a machine only when it cannot have made it already: it was never asked, or
 *     said that it did not, or its list, asked for long after, does not show it.
 * I2. Every machine that was made is ended by us or seen to be ended; none is let go of while it may run.
 * I3. An end on purpose waits for the jobs of the machine, for a limited time; a failure waits for nothing.
 * I4. A machine that still reports steps of its start is not dead, for as long as its start may take.
 * I5. Whose agent is heard lives, whatever its provider lists: a list may be short, of another account, or
 *     of another label.
 */
import { assertNever } from "@holdfast/runtime";
import type { FailureKind } from "../lifespan.ts";
import type { ProvidedMachine } from "../provider/model.ts";
import type { FleetMachine, FleetPolicy, MachineSigns, PoolListing, PoolPolicy } from "./model.ts";

/** What to do about a machine. */
export type MachineAction =
  | { readonly kind: "nothing"; readonly reason: string }
  /** Ask its provider for it. */
  | { readonly kind: "ask" }
  /** It exists: write down under which reference. */
  | { readonly kind: "adopt"; readonly provided: ProvidedMachine }
  | { readonly kind: "become_ready" }
  /** It has failed: written down as such, then ended. */
  | { readonly kind: "fail"; readonly failure: FailureKind; readonly reason: string }
  /** It ends on purpose, and not by a failure of its own. */
  | {
      readonly kind: "end";
      readonly reason: string;
      /** Its provider had no place for it. */
      readonly isUnplaced?: boolean;
      /** It may be there, and nobody here can find out: a person should look. */
      readonly isGivenUp?: boolean;
    }
  /** Tell its provider to end it. */
  | { readonly kind: "terminate" }
  /** It is gone. */
  | { readonly kind: "forget" };

/** Whether the next thing about the machine may be done in the same round: what failed is ended at once. */
export function isFollowedAtOnce({ kind }: MachineAction): boolean {
  return kind === "fail" || kind === "end" || kind === "terminate" || kind === "adopt";
}

/** Everything that decides about one machine. */
export interface MachineFacts {
  readonly machine: FleetMachine;
  readonly signs: MachineSigns;
  /** Null: the provider has not answered since this process leads. */
  readonly listing: PoolListing | null;
  /** Null: its pool is not in the settings any more, or is another provider's. */
  readonly pool: PoolPolicy | null;
  /** The instant of the signs: what is judged by a later one is silent without having been. */
  readonly now: number;
  /** Since when agents can be heard at all: silence before counts for nothing. */
  readonly listeningSince: number;
  /** Who wants it ended and why, in words; null when nobody has said so. */
  readonly wantedEnd: string | null;
}

/** The next thing to do about a machine. */
export function decideMachine(facts: MachineFacts, policy: FleetPolicy): MachineAction {
  const { machine } = facts;
  switch (machine.state) {
    case "asked":
      return decideAsked(facts, policy);
    case "starting":
      return decideLoss(facts, policy) ?? decideStarting(facts, policy);
    case "ready":
      return decideLoss(facts, policy) ?? decideReady(facts, policy);
    case "draining":
      return decideDraining(facts, policy);
    case "ending":
    case "ended":
      return decideEnding(facts, policy);
    default:
      return assertNever(machine.state);
  }
}

/** How a provider tells of a machine, by its reference or, where that is not known, by its name. */
export function providedOf(
  { ref, name }: Pick<FleetMachine, "ref" | "name">,
  listing: PoolListing | null,
): ProvidedMachine | undefined {
  return ref === null ? listing?.byName.get(name) : listing?.byRef.get(ref);
}

/** Nobody here could end it; it serves on, and its state is told. */
const NO_POOL = "its pool is not in the settings any more, so it cannot be ended here";
/** An agent that was heard of so lately is there. */
const HEARD_MS = 60_000;
/** One that may have been made, and whose pool is gone, is waited for: the pool may come back. */
const UNLISTED_MS = 15 * 60_000;

const nothing = (reason: string): MachineAction => ({ kind: "nothing", reason });
const fail = (failure: FailureKind, reason: string): MachineAction => ({
  kind: "fail",
  failure,
  reason,
});

function decideAsked(facts: MachineFacts, policy: FleetPolicy): MachineAction {
  const { machine, listing, pool, now } = facts;
  const provided = providedOf(machine, listing);
  if (provided !== undefined) return { kind: "adopt", provided };
  const { unsureUntil, askedCount, nextAskAt } = machine;
  if (pool === null && unsureUntil !== null) return decideUnlisted(facts, unsureUntil);
  // I1
  if (unsureUntil !== null && !isListedSince(listing, unsureUntil)) {
    return nothing("its provider was asked, and may have made it: its list is waited for");
  }
  if (pool === null) return { kind: "end", reason: "its pool is not in the settings any more" };
  if (machine.offerIndex >= pool.offerCount) {
    return { kind: "end", reason: "its provider has none of what was asked for" };
  }
  if (askedCount >= policy.askLimit) {
    return fail("provider_error", `its provider was asked ${askedCount} times and made none`);
  }
  if (now < nextAskAt) return nothing("its provider is asked again later");
  return { kind: "ask" };
}

/** Its pool is gone, and with it whoever could tell whether it was made: not for ever. */
function decideUnlisted(facts: MachineFacts, unsureUntil: number): MachineAction {
  const { name, provider } = facts.machine;
  if (isHeard(facts)) return nothing(NO_POOL); // I5
  const what = "its pool is not in the settings any more";
  const until = unsureUntil + UNLISTED_MS;
  if (facts.now < until) {
    const instant = new Date(until).toISOString();
    const words =
      "so that nobody can say whether it was made: put the pool back, or it is given up";
    return nothing(`${what}, ${words} at ${instant}`);
  }
  const look = `look for ${name} at its provider (${provider}), and end it there`;
  const reason = `${what}, and it was never known whether it was made: ${look}`;
  return { kind: "end", reason, isGivenUp: true };
}

/** An end that nobody here has asked for. */
function decideLoss(facts: MachineFacts, { listLagMs }: FleetPolicy): MachineAction | null {
  const { machine, listing, signs, now } = facts;
  if (machine.provider === "static") {
    return signs.hasSignedOff ? { kind: "end", reason: "its agent has signed off" } : null;
  }
  const provided = providedOf(machine, listing);
  if (provided?.state === "ended" || provided?.state === "ending") {
    return provided.isUnplaced === true
      ? {
          kind: "end",
          reason: `its provider had no place for it${wordsOf(provided)}`,
          isUnplaced: true,
        }
      : fail("crash", `its provider says that it ended${wordsOf(provided)}`);
  }
  const isGone = provided === undefined && isListedSince(listing, madeAt(machine) + listLagMs);
  // I5
  if (isGone && !isHeard(facts)) return fail("crash", "its provider does not list it any more");
  // Its agent went in good order, and its provider does not know it yet.
  if (signs.hasSignedOff && now - (signs.heartbeatAt ?? now) >= listLagMs) {
    return fail("crash", "its agent has signed off, and nobody had asked for it");
  }
  return null;
}

function decideStarting(
  { machine, signs, pool, listing, now, listeningSince }: MachineFacts,
  policy: FleetPolicy,
): MachineAction {
  if (signs.isHealthy) return { kind: "become_ready" };
  if (machine.provider === "static")
    return staticSilence(signs, { now, listeningSince }, policy) ?? nothing("it starts");
  const { fault } = signs;
  if (fault !== null && now - fault.since >= policy.faultGraceMs) {
    return fail("fault_report", fault.reason);
  }
  if (pool === null) return nothing(NO_POOL);
  const begun = madeAt(machine);
  const progress = Math.max(begun, signs.progressAt ?? begun, listeningSince);
  if (providedOf(machine, listing)?.isUnplaced === true) {
    return now - begun >= pool.progressTimeoutMs
      ? { kind: "end", reason: "its provider has found no place for it", isUnplaced: true }
      : nothing("its provider looks for a place for it");
  }
  const isLate = now - begun >= pool.startTimeoutMs;
  if (isLate && now - listeningSince >= pool.progressTimeoutMs) {
    return fail("no_start", `it was not healthy ${seconds(pool.startTimeoutMs)} after it was made`);
  }
  // I4
  if (now - progress >= pool.progressTimeoutMs) {
    const what =
      signs.heartbeatAt === null ? "its agent has never registered" : "its start stands still";
    return fail("no_start", `${what}: no sign of progress for ${seconds(pool.progressTimeoutMs)}`);
  }
  return nothing("it starts");
}

function decideReady(
  { machine, signs, pool, now, listeningSince }: MachineFacts,
  policy: FleetPolicy,
): MachineAction {
  if (machine.provider === "static")
    return staticSilence(signs, { now, listeningSince }, policy) ?? nothing("it serves");
  const { heartbeatAt, silence, fault } = signs;
  const heard = Math.max(heartbeatAt ?? machine.healthyAt ?? madeAt(machine), listeningSince);
  if (now - heard >= policy.heartbeatTimeoutMs) {
    return fail(
      "no_heartbeat",
      `nothing was heard of it for ${seconds(policy.heartbeatTimeoutMs)}`,
    );
  }
  // A machine that answers here and not there works: whoever cannot be asked is judged by its heartbeat.
  if (silence !== null && !signs.isHealthy && now - silence.since >= policy.faultGraceMs) {
    return fail("no_heartbeat", silence.reason);
  }
  if (fault !== null && !signs.isHealthy && now - fault.since >= policy.faultGraceMs) {
    return fail("fault_report", fault.reason);
  }
  const { unwellSince } = signs;
  if (unwellSince !== null && now - Math.max(unwellSince, listeningSince) >= policy.unwellMs) {
    const why = fault === null ? "" : `: ${fault.reason}`;
    return fail("fault_report", `no instance of it works since ${seconds(policy.unwellMs)}${why}`);
  }
  return nothing(pool === null ? NO_POOL : "it serves");
}

/** Nobody here can end it: it is over when nothing is heard of it. */
function staticSilence(
  { heartbeatAt }: MachineSigns,
  { now, listeningSince }: Pick<MachineFacts, "now" | "listeningSince">,
  { heartbeatTimeoutMs }: FleetPolicy,
): MachineAction | null {
  return now - Math.max(heartbeatAt ?? 0, listeningSince) >= heartbeatTimeoutMs
    ? fail("no_heartbeat", `nothing was heard of it for ${seconds(heartbeatTimeoutMs)}`)
    : null;
}

function decideDraining(
  { machine, signs, listing, now, listeningSince, wantedEnd }: MachineFacts,
  policy: FleetPolicy,
): MachineAction {
  const since = machine.drainingSince ?? now;
  // A person's reason is the machine's; what the machine did meanwhile stands beside it.
  const end = (what: string): MachineAction => ({
    kind: "end",
    reason: wantedEnd === null ? what : `${wantedEnd}; ${what}`,
  });
  const { state } = providedOf(machine, listing) ?? { state: "running" };
  if (state === "ended" || state === "ending") return end("it has ended");
  // I3
  if (signs.jobCount === 0) {
    return { kind: "end", reason: wantedEnd ?? "it is not needed, and has no job" };
  }
  if (now - Math.max(signs.heartbeatAt ?? since, listeningSince) >= policy.heartbeatTimeoutMs) {
    return end("it was to end, and nothing was heard of it since");
  }
  return now - since >= policy.drainTimeoutMs
    ? end(`its job was not done within ${seconds(policy.drainTimeoutMs)}`)
    : nothing("its running jobs are waited for");
}

/** I2. Also for one that counts as ended: a provider may tell late that it made it after all. */
function decideEnding(facts: MachineFacts, policy: FleetPolicy): MachineAction {
  const { machine, listing, pool, now } = facts;
  const { state, ref, terminatedAt, unsureUntil, nextAskAt } = machine;
  if (machine.provider === "static") {
    return state === "ended" ? nothing("it has ended") : { kind: "forget" };
  }
  const provided = providedOf(machine, listing);
  const terminate: MachineAction =
    now < nextAskAt ? nothing("its provider is told again later") : { kind: "terminate" };
  if (provided !== undefined && provided.state !== "ended") {
    const isTold = terminatedAt !== null && now - terminatedAt < policy.terminateEveryMs;
    return isTold ? nothing("its provider is ending it") : terminate;
  }
  if (state === "ended") return nothing("it has ended");
  if (provided === undefined && ref === null && unsureUntil === null) return { kind: "forget" };
  // Also one that has ended by itself, or is not listed: its disk may be paid for still.
  if ((ref !== null || provided !== undefined) && terminatedAt === null) return terminate;
  if (provided !== undefined) return { kind: "forget" };
  // Nobody is left to ask.
  if (pool === null && ref === null && now >= (unsureUntil ?? 0) + UNLISTED_MS && !isHeard(facts)) {
    return { kind: "forget" };
  }
  // Not in the list: made and not listed yet, or gone.
  const settledAt = Math.max(
    unsureUntil ?? 0,
    terminatedAt ?? 0,
    madeAt(machine) + policy.listLagMs,
  );
  return isListedSince(listing, settledAt)
    ? { kind: "forget" }
    : nothing("its provider is asked whether it has ended");
}

function isHeard({ signs, now }: MachineFacts): boolean {
  return signs.heartbeatAt !== null && now - signs.heartbeatAt < HEARD_MS;
}

function isListedSince(listing: PoolListing | null, instant: number): boolean {
  return listing !== null && listing.askedAt >= instant;
}

function madeAt({ createdAt, askedAt }: FleetMachine): number {
  return createdAt ?? askedAt;
}

function wordsOf({ reason }: ProvidedMachine): string {
  return reason === null || reason === "" ? "" : `: ${reason}`;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}
