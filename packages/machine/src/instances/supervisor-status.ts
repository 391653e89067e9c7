/** What is told of an instance. */
import type { Clock } from "@holdfast/runtime";
import type { CheckStatus, RuntimeStatus } from "../services/model.ts";
import type { InstancePlan } from "./model.ts";
import type { ExitRecord, SupervisedInstance } from "./supervised-instance.ts";
import { causeText } from "./supervision.ts";

/** An instance as it is now. */
export interface InstanceStatus {
  readonly name: string;
  /** Where it is reached: for as long as its process runs there, that may be another place than planned. */
  readonly url: string;
  readonly port: number;
  readonly plan: InstancePlan;
  readonly runtime: RuntimeStatus;
  readonly check: CheckStatus;
  /** Of the spec that its process was started with. */
  readonly digest: string | null;
  /** Its process was started from what is wanted now. */
  readonly isCurrent: boolean;
  /** False: it lives on without its process manager, and is taken over when it is idle. */
  readonly isManaged: boolean;
  /** With all that it started, without mapped files; null before it was measured. */
  readonly memoryBytes: number | null;
  /** Why it takes no more work; null when it does. */
  readonly draining: string | null;
  /** Why it cannot be started; null when nothing keeps it from it. */
  readonly blocked: string | null;
  /** It cannot run for its card's sake, or somebody else's who has its card or port: no release is to blame. */
  readonly isHindered: boolean;
  /** Epoch ms of the next start after failures; null when none is waited for. */
  readonly nextStartAt: number | null;
  /** The last ends of its process, oldest first. */
  readonly exits: readonly ExitRecord[];
}

/** The status of an instance. */
export function instanceStatus(one: SupervisedInstance, clock: Clock): InstanceStatus {
  const { process, lastAction, drain } = one;
  const place = process?.place ?? one.place();
  const waits = lastAction?.kind === "wait" || lastAction?.kind === "give_up";
  return {
    name: one.name,
    url: place.url,
    port: place.port,
    plan: one.plan,
    runtime: runtimeOf(one),
    check: checkOf(one, clock),
    digest: process?.digest ?? null,
    isCurrent: process !== null && process.digest === one.spec?.digest,
    isManaged: process?.isManaged ?? true,
    memoryBytes: process?.memoryBytes ?? null,
    draining: drain === null ? null : drainText(drain.cause),
    blocked: lastAction?.kind === "blocked" ? lastAction.reason : null,
    isHindered: one.isHindered,
    nextStartAt:
      process === null && waits
        ? Math.round(clock.now() + Math.max(0, lastAction.until - clock.elapsed()))
        : null,
    exits: one.exits,
  };
}

function drainText(cause: NonNullable<SupervisedInstance["drain"]>["cause"]): string {
  if (cause.kind === "removed") return "it is no longer in the plan";
  return cause.kind === "card_fault" ? cause.reason : causeText(cause);
}

function runtimeOf(one: SupervisedInstance): RuntimeStatus {
  const { process, lastAction, failures, operation } = one;
  const common = { restarts: Math.max(0, one.processes - 1) };
  if (process === null && !one.hasLooked && lastAction === null && one.exits.length === 0) {
    // An agent that was started anew finds them running: until it has looked, nobody can say.
    const detail = "what may live on from before is looked for";
    return { ...common, state: "starting", pid: null, startedAt: null, detail };
  }
  if (process === null) {
    const state =
      operation?.label === "start" || operation?.label === "restart"
        ? "starting"
        : failures.isLooping && lastAction?.kind === "give_up"
          ? "crash_loop"
          : "stopped";
    return { ...common, state, pid: null, startedAt: null, detail: stoppedText(one) };
  }
  const isEnding =
    lastAction?.kind === "end" ||
    (operation !== null && ["end", "kill", "restart"].includes(operation.label));
  const state = isEnding ? "stopping" : isOnItsWay(one) ? "starting" : "running";
  const detail =
    one.drain !== null
      ? `it takes no more work: ${drainText(one.drain.cause)}`
      : isNotable(lastAction)
        ? lastAction.reason
        : state === "starting"
          ? silentText(one)
          : null;
  return { ...common, state, pid: process.pid, startedAt: process.startedAtEpoch, detail };
}

function isNotable(action: SupervisedInstance["lastAction"]): action is NonNullable<typeof action> {
  if (action === null) return false;
  return action.kind !== "nothing" || action.reason.includes("turn");
}

function stoppedText(one: SupervisedInstance): string | null {
  const last = one.exits.at(-1);
  // What was last decided of a process that lived says nothing of why there is none.
  const isStale = one.lastAction?.kind === "nothing" && one.wanted !== "keep";
  const why = isStale ? null : (one.lastAction?.reason ?? null);
  if (last === undefined || last.wasAsked) return why;
  return why === null ? last.reason : `${why}; last: ${last.reason}`;
}

/** Of a process that is on its way: that its port refuses is what is expected of it. */
function silentText(one: SupervisedInstance): string {
  if (one.process !== null && one.process.answeredAt !== null) {
    return "it runs from before; what may be in it is being found out";
  }
  return `its process runs, and does not answer on port ${one.plan.port} yet`;
}

/** Also one that was adopted a moment ago, of which the runner knows nothing yet. */
function isOnItsWay({ process, health }: SupervisedInstance): boolean {
  if (process === null || process.answeredAt === null) return true;
  return process.adoptedAt !== null && process.isUnsure && health?.state === "starting";
}

/** The runner's word, for a process that has come so far. */
function checkOf(one: SupervisedInstance, clock: Clock): CheckStatus {
  const { process, health } = one;
  if (process === null) return { state: "pending", detail: null, checkedAt: null };
  const checkedAt = Math.round(clock.now());
  // A process may answer for long without its card.
  if (one.cardFault !== null) return { state: "failing", detail: one.cardFault, checkedAt };
  if (process.isHealthy) return { state: "passing", detail: null, checkedAt };
  if (isOnItsWay(one)) {
    return { state: "pending", detail: silentText(one), checkedAt: null };
  }
  return { state: "failing", detail: health?.reason ?? unwellText(process, health), checkedAt };
}

/** For one of which the runner gives no reason. */
function unwellText(
  process: NonNullable<SupervisedInstance["process"]>,
  health: SupervisedInstance["health"],
): string {
  if (process.silentSince !== null) return "it does not answer";
  return health?.state === "starting"
    ? "it answers, and no check has come through it yet"
    : "it is not well";
}
