/**
 * What to do next about one instance: desired against observed. Pure; the supervisor gathers the
 * facts about each second and does what is answered.
 *
 * I1. Nothing is done about an instance whose card and port are not locked for this agent.
 * I2. Nothing is started while a process of ours for it, or anybody on its port, is there.
 * I3. A working instance is ended in mid-job only over its memory limit, or by a person's word after
 *     the time for draining. Recycling, a new release, new settings and a take-over wait for the job.
 *     One whose card is lost has none that works: it is drained like one that is not planned any more.
 *     One whose card wants a reset takes no more work, and its job is waited for while it advances.
 * I4. Planned restarts are made one after the other over the machine: see `rollout.ts`.
 */
import { assertNever } from "@holdfast/runtime";
import type { InstancePlan } from "./model.ts";
import { digestChange } from "./process-spec.ts";
import type { FailureRecord } from "./failure-record.ts";

/** Limits of {@link decideNext}, all in milliseconds. */
export interface SupervisionPolicy {
  /** One that answers but is unhealthy for so long is killed. */
  readonly unhealthyMs: number;
  /** One that answered before and is silent for so long is killed. Outlasts a garbage collection (F29). */
  readonly silentMs: number;
  /** Recycled at most so often: a limit below what the models need would restart it after each job. */
  readonly recycleRestMs: number;
}

/** Why an instance is started anew although nothing is wrong enough to kill it. */
export type RestartCause =
  | { readonly kind: "asked"; readonly reason: string }
  | { readonly kind: "release_changed" }
  | { readonly kind: "plan_changed" }
  | { readonly kind: "unmanaged" }
  | { readonly kind: "memory_growth"; readonly bytes: number };

/** Why an instance takes no more work. */
export type DrainCause =
  | RestartCause
  | { readonly kind: "removed" }
  | { readonly kind: "card_fault"; readonly reason: string };

/** Why an instance is killed. */
export type KillCause =
  | { readonly kind: "memory_limit"; readonly bytes: number }
  | { readonly kind: "start_timeout" }
  | { readonly kind: "unhealthy"; readonly reason: string }
  | { readonly kind: "silent" };

/** The instance's process. Instants are of the monotonic clock. */
export interface ProcessFacts {
  readonly pid: number;
  /** Of the spec that it was started with; null when that is not known. */
  readonly digest: string | null;
  /** The process manager knows it. */
  readonly isManaged: boolean;
  /** Found, and not yet taken into care. */
  readonly isNew: boolean;
  readonly startedAt: number;
  /** Null until it answered for the first time. */
  readonly answeredAt: number | null;
  readonly isHealthy: boolean;
  /** Its port takes connections. */
  readonly isListening: boolean;
  /** A prompt of ours is in it, or may be: an adopted one counts as busy until more is known of it. */
  readonly isBusy: boolean;
  /** Prompts wait in its queue and nothing runs them (F26): no job is under way there. */
  readonly isStuck: boolean;
  /** Since when it answers but does not work in a way that a new start may mend. */
  readonly unhealthySince: number | null;
  /** Since when it does not answer any more. */
  readonly silentSince: number | null;
  readonly healthReason: string | null;
  readonly memoryBytes: number | null;
}

/** Found in the way of a start. */
export interface Leftovers {
  /** Processes of this instance that the process manager does not know. */
  readonly own: readonly { readonly pid: number; readonly listens: boolean }[];
  /** Who else listens on the port. */
  readonly portHolder: {
    readonly pid: number | null;
    readonly command: string;
    /** The instance of this machine that it is; null for a stranger. */
    readonly instance: string | null;
    /** Such an instance is in the plan. */
    readonly isPlanned: boolean;
  } | null;
}

/** Everything that decides. */
export interface SupervisionFacts {
  readonly now: number;
  /** `keep`: there is nothing to start it from, what runs goes on. `end`: no longer in the plan. */
  readonly wanted: "run" | "keep" | "end";
  /** Of the spec it would be started with now. */
  readonly wantedDigest: string | null;
  readonly plan: InstancePlan;
  /** Null: card and port are locked for us. Else why they are not. */
  readonly lockRefusal: string | null;
  /** Null: the process manager is ready. Else why it is not. */
  readonly managerProblem: string | null;
  readonly process: ProcessFacts | null;
  /** Null: not looked for. Only while there is no process. */
  readonly leftovers: Leftovers | null;
  readonly failures: FailureRecord;
  /** Somebody asked for a new start. */
  readonly asked: string | null;
  readonly drain: {
    readonly cause: DrainCause;
    readonly startedAt: number;
    readonly isDrained: boolean;
  } | null;
  /** Why nothing can be done on its card; null when it can, or it has none. */
  readonly cardFault: string | null;
  /** What runs on its card goes on, whatever fault that has. */
  readonly cardRunsOn: boolean;
  /** Its turn for a planned restart. */
  readonly hasTurn: boolean;
}

/** What to do, with the reason in words. */
export type Action =
  | { readonly kind: "nothing"; readonly reason: string }
  | { readonly kind: "start"; readonly reason: string }
  | { readonly kind: "look"; readonly reason: string }
  | { readonly kind: "wait"; readonly until: number; readonly reason: string }
  | { readonly kind: "give_up"; readonly until: number; readonly reason: string }
  | {
      readonly kind: "blocked";
      readonly reason: string;
      /** By its card, or by whoever has its card or port: nothing that passes by the machine's own work. */
      readonly isHindered: boolean;
    }
  | { readonly kind: "end_orphan"; readonly pids: readonly number[]; readonly reason: string }
  | { readonly kind: "adopt"; readonly pid: number; readonly reason: string }
  | {
      readonly kind: "drain_then_restart";
      readonly cause: RestartCause;
      readonly reason: string;
    }
  | { readonly kind: "drain_then_end"; readonly cause: DrainCause; readonly reason: string }
  /** The cause of the drain is gone: it takes work again. */
  | { readonly kind: "resume"; readonly reason: string }
  | { readonly kind: "restart"; readonly cause: RestartCause; readonly reason: string }
  | { readonly kind: "kill"; readonly cause: KillCause; readonly reason: string }
  | { readonly kind: "end"; readonly reason: string };

/** The next thing to do about an instance. */
export function decideNext(facts: SupervisionFacts, policy: SupervisionPolicy): Action {
  if (facts.lockRefusal !== null) return blocked(facts.lockRefusal, true); // I1
  const { process } = facts;
  if (process === null) return decideStopped(facts);
  if (process.isNew) {
    return { kind: "adopt", pid: process.pid, reason: adoptionReason(process, facts) };
  }
  const killing = killCause(process, facts, policy);
  if (killing !== null) {
    return { kind: "kill", cause: killing, reason: killText(killing, facts.plan) };
  }
  if (facts.wanted === "end") {
    return decideEnd(process, facts, { kind: "removed" }, "it is no longer in the plan");
  }
  if (facts.cardFault !== null) {
    const reason = facts.cardFault;
    return decideEnd(process, facts, { kind: "card_fault", reason }, reason);
  }
  return decideRestart(process, facts, policy);
}

function decideStopped(facts: SupervisionFacts): Action {
  const { leftovers, failures, now, asked, managerProblem } = facts;
  if (facts.wanted === "end") return { kind: "end", reason: "it is no longer in the plan" };
  if (leftovers !== null) {
    const inTheWay = decideLeftovers(leftovers, facts.plan); // I2
    if (inTheWay !== null) return inTheWay;
  }
  if (facts.cardFault !== null) return blocked(facts.cardFault, true);
  if (facts.wanted === "keep")
    return { kind: "nothing", reason: "there is nothing to start it from" };
  if (managerProblem !== null) return blocked(managerProblem, false);
  if (asked === null && now < failures.retryAt) {
    const { retryAt: until } = failures;
    return failures.isLooping
      ? {
          kind: "give_up",
          until,
          reason: `it failed ${failures.recent.length} times; it is tried seldom now`,
        }
      : { kind: "wait", until, reason: failedText(failures.inRow) };
  }
  if (leftovers === null) {
    return { kind: "look", reason: "what may be in the way of a start is looked for" };
  }
  return { kind: "start", reason: asked ?? "it is wanted here and does not run" };
}

const failedText = (inRow: number): string =>
  inRow === 1 ? "it failed and is started again" : `it failed ${inRow} times in a row`;

function decideLeftovers({ own, portHolder }: Leftovers, plan: InstancePlan): Action | null {
  // One that listens may be serving a job: whatever it was started from, it is taken into care, and
  // what is wrong with it is mended in the order of planned restarts.
  const serving = own.find(({ listens }) => listens);
  if (serving !== undefined) {
    return {
      kind: "adopt",
      pid: serving.pid,
      reason: "it lives on from before and holds its port",
    };
  }
  if (own.length > 0) {
    return {
      kind: "end_orphan",
      pids: own.map(({ pid }) => pid),
      reason: "processes of it live on from before and do not serve",
    };
  }
  if (portHolder === null) return null;
  if (portHolder.instance !== null && portHolder.pid !== null && !portHolder.isPlanned) {
    return {
      kind: "end_orphan",
      pids: [portHolder.pid],
      reason: `${portHolder.instance}, which is no longer in the plan, holds port ${plan.port}`,
    };
  }
  return blocked(portText(portHolder, plan.port), portHolder.instance === null);
}

function blocked(reason: string, isHindered: boolean): Action {
  return { kind: "blocked", reason, isHindered };
}

function portText(holder: NonNullable<Leftovers["portHolder"]>, port: number): string {
  if (holder.instance !== null) {
    return `port ${port} is still held by ${holder.instance} of this machine; it will be free once that one was started anew`;
  }
  const who =
    holder.pid === null
      ? "another account's process"
      : `process ${holder.pid} (${holder.command || "unknown"})`;
  return `port ${port} is held by ${who}, which is not of this machine folder: end it, or choose another basePort`;
}

function adoptionReason(process: ProcessFacts, facts: SupervisionFacts): string {
  if (!process.isManaged) return "it lives on from before; its process manager does not know it";
  if (process.digest === null) return "it runs, but it is not known what it was started from";
  return process.digest === facts.wantedDigest
    ? "it runs as it should"
    : "it runs, from an earlier release or earlier settings";
}

function killCause(
  process: ProcessFacts,
  { now, plan }: SupervisionFacts,
  policy: SupervisionPolicy,
): KillCause | null {
  const { memoryBytes, answeredAt, unhealthySince, silentSince } = process;
  if (
    memoryBytes !== null &&
    plan.memoryLimitBytes !== null &&
    memoryBytes > plan.memoryLimitBytes
  ) {
    return { kind: "memory_limit", bytes: memoryBytes };
  }
  // I3. A long job keeps it from answering for itself; what stands still has none that could be lost.
  if (isWorking(process)) return null;
  if (answeredAt === null) {
    return now - process.startedAt >= plan.startTimeoutMs ? { kind: "start_timeout" } : null;
  }
  if (unhealthySince !== null && now - unhealthySince >= policy.unhealthyMs) {
    return { kind: "unhealthy", reason: process.healthReason ?? "no reason was told" };
  }
  return silentSince !== null && now - silentSince >= policy.silentMs ? { kind: "silent" } : null;
}

function killText(cause: KillCause, plan: InstancePlan): string {
  switch (cause.kind) {
    case "memory_limit":
      return `it holds ${megabytes(cause.bytes)} MB, its limit is ${megabytes(plan.memoryLimitBytes ?? 0)} MB`;
    case "start_timeout":
      return `it does not answer ${plan.startTimeoutMs / 1_000} s after its start`;
    case "unhealthy":
      return `it is unhealthy: ${cause.reason}`;
    case "silent":
      return "it does not answer any more";
    default:
      return assertNever(cause);
  }
}

function decideEnd(
  process: ProcessFacts,
  facts: SupervisionFacts,
  cause: DrainCause,
  reason: string,
): Action {
  const { drain, plan, now } = facts;
  if (isWorthless(process)) return { kind: "end", reason };
  if (drain?.cause.kind !== cause.kind) return { kind: "drain_then_end", cause, reason };
  const isLate = now - drain.startedAt >= plan.drainMs;
  // I3. Whoever took it out of the plan has had his word; a card that only wants a reset has none.
  const mayEnd = cause.kind === "removed" || !facts.cardRunsOn || !isWorking(process);
  return (drain.isDrained && !process.isBusy) || (isLate && mayEnd)
    ? { kind: "end", reason }
    : { kind: "nothing", reason: "its running job is waited for" };
}

function decideRestart(
  process: ProcessFacts,
  facts: SupervisionFacts,
  policy: SupervisionPolicy,
): Action {
  const cause = restartCause(process, facts, policy);
  const { drain } = facts;
  if (cause === null || !mayRestart(cause, facts)) {
    if (drain !== null)
      return { kind: "resume", reason: "what it was drained for is no longer so" };
    const reason =
      cause === null ? "it is as it should be" : `${causeText(cause)}; it waits for its turn`;
    return { kind: "nothing", reason };
  }
  const reason = causeText(cause);
  if (isWorthless(process)) return { kind: "restart", cause, reason };
  if (drain === null || drain.cause.kind === "removed" || drain.cause.kind === "card_fault") {
    return { kind: "drain_then_restart", cause, reason };
  }
  const isOver = cause.kind === "asked" && facts.now - drain.startedAt >= facts.plan.drainMs;
  // To drain what the runner does not know of yet is done at once, and says nothing.
  if ((drain.isDrained && !process.isBusy) || isOver) return { kind: "restart", cause, reason }; // I3
  return { kind: "nothing", reason: `${reason}; its running job is waited for` };
}

/** A job advances in it, as far as can be seen. */
function isWorking(process: ProcessFacts): boolean {
  return process.isListening && process.isBusy && !process.isStuck;
}

/** What neither works nor has a job has nothing that could be saved by waiting. */
function isWorthless(process: ProcessFacts): boolean {
  return !process.isHealthy && !process.isBusy;
}

/** I4. A person's word needs no turn. */
function mayRestart(cause: RestartCause, facts: SupervisionFacts): boolean {
  if (facts.wanted !== "run" || facts.managerProblem !== null) return false;
  return cause.kind === "asked" || facts.hasTurn;
}

/** Why an instance should be started anew; null when nothing asks for it. */
export function restartCause(
  process: ProcessFacts,
  facts: Pick<SupervisionFacts, "asked" | "wantedDigest" | "plan" | "now" | "drain">,
  policy: SupervisionPolicy,
): RestartCause | null {
  const { asked, wantedDigest, plan, now, drain } = facts;
  if (asked !== null) return { kind: "asked", reason: asked };
  if (wantedDigest !== null && process.digest !== wantedDigest) {
    return digestChange(process.digest, wantedDigest) === "release"
      ? { kind: "release_changed" }
      : { kind: "plan_changed" };
  }
  if (!process.isManaged) return { kind: "unmanaged" };
  // Once drained for it, it is done: freed memory of a paused process would come back.
  if (drain?.cause.kind === "memory_growth") return drain.cause;
  const { memoryBytes, startedAt } = process;
  const isOver =
    memoryBytes !== null && plan.recycleAboveBytes !== null && memoryBytes > plan.recycleAboveBytes;
  return isOver && now - startedAt >= policy.recycleRestMs
    ? { kind: "memory_growth", bytes: memoryBytes }
    : null;
}

/** A cause in words. */
export function causeText(cause: RestartCause): string {
  switch (cause.kind) {
    case "asked":
      return `a new start was asked for: ${cause.reason}`;
    case "release_changed":
      return "another release is to serve";
    case "plan_changed":
      return "its settings have changed";
    case "unmanaged":
      return "its process manager does not know it and takes it over";
    case "memory_growth":
      return `its memory grew to ${megabytes(cause.bytes)} MB`;
    default:
      return assertNever(cause);
  }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1024 ** 2);
}
