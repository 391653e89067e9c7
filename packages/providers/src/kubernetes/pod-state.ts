/** What a pod says of itself, as a machine. Pure. */
import type { ProvidedMachine } from "@holdfast/fleet";
import { assertNever } from "@holdfast/runtime";
import type {
  V1ContainerStateTerminated,
  V1ContainerStatus,
  V1Pod,
  V1PodCondition,
} from "@kubernetes/client-node";
import { CONTAINER, offerOfPod } from "./pod-spec.ts";
import type { KubernetesSettings } from "./settings.ts";

/** Longest reason that is passed on: a scheduler names every node. */
const REASON_MAX = 500;
const MS_PER_SEC = 1_000;
/** What kubelets say of a pod for which there was no room after all (`OutOfcpu`, `OutOfnvidia.com/gpu`). */
const NO_ROOM = /^OutOf/;

/** A machine as its pod tells of it. `now` is the cluster's time, epoch ms. */
export function machineOfPod(
  pod: V1Pod,
  settings: KubernetesSettings,
  now: number,
): ProvidedMachine {
  const name = pod.metadata?.name ?? "";
  const state = stateOf(pod);
  return {
    ref: name,
    name,
    state,
    reason: shortened(reasonOf(pod, state)),
    isUnplaced: isUnplaced(pod, state, settings.scheduleTimeoutSec * MS_PER_SEC, now),
    offer: offerOfPod(pod, settings),
    pricePerHour: null,
    address: pod.status?.podIP ?? null,
    createdAt: epochMs(pod.metadata?.creationTimestamp),
  };
}

/** When a pod ended, as far as it is known; null while it has not. */
export function endedAt(pod: V1Pod): number | null {
  if (stateOf(pod) !== "ended") return null;
  const told = [
    ...(pod.status?.containerStatuses ?? []).map((one) => one.state?.terminated?.finishedAt),
    ...(pod.status?.conditions ?? []).map((one) => one.lastTransitionTime),
    pod.metadata?.creationTimestamp,
  ];
  const instants = told.map(epochMs).filter((at) => at !== null);
  return instants.length === 0 ? null : Math.max(...instants);
}

function stateOf(pod: V1Pod): ProvidedMachine["state"] {
  const phase = pod.status?.phase;
  if (phase === "Succeeded" || phase === "Failed") return "ended";
  if (pod.metadata?.deletionTimestamp !== undefined) return "ending";
  // `Unknown`: its node does not answer, and what ran there may run still.
  return phase === "Running" || phase === "Unknown" ? "running" : "pending";
}

function reasonOf(pod: V1Pod, state: ProvidedMachine["state"]): string | null {
  switch (state) {
    case "pending":
      return waitingReason(pod);
    case "running":
      return lostReason(pod);
    case "ending":
      return joined([disruption(pod) ?? "is being deleted", lostReason(pod)]);
    case "ended":
      return endReason(pod);
    default:
      return assertNever(state);
  }
}

/** What a pod waits for: a node, or something that its container lacks. */
function waitingReason(pod: V1Pod): string | null {
  const scheduled = conditionOf(pod, "PodScheduled");
  if (scheduled?.status === "False") return worded(scheduled.reason, scheduled.message);
  if (scheduled === undefined && pod.spec?.nodeName === undefined) {
    return "no scheduler has looked at it yet";
  }
  const waiting = containersOf(pod)
    .map(({ state }) => state?.waiting)
    .find((one) => one?.reason !== undefined);
  return waiting === undefined ? null : worded(waiting.reason, waiting.message);
}

/** Why a pod that should run may not: its node is away, or its agent has ended beside what was injected. */
function lostReason(pod: V1Pod): string | null {
  const { phase, reason, message } = pod.status ?? {};
  const isAway = "its node does not answer";
  if (phase === "Unknown" || reason === "NodeLost") {
    return worded(reason ?? "NodeLost", message ?? isAway);
  }
  const containers = containersOf(pod);
  const ended = containers.find(({ name }) => name === CONTAINER)?.state?.terminated;
  if (ended !== undefined) return `its agent has ended: ${terminationWords(ended)}`;
  // Its containers are ready as far as their node has told, and the cluster says that it is not.
  const areReady = containers.length > 0 && containers.every((one) => one.ready);
  return areReady && conditionOf(pod, "Ready")?.status === "False"
    ? `NodeNotReady: ${isAway}`
    : null;
}

function endReason(pod: V1Pod): string {
  const { reason, message } = pod.status ?? {};
  const ended = containersOf(pod)
    .map(({ state }) => state?.terminated)
    .find((one) => one !== undefined);
  return (
    joined([
      disruption(pod),
      // `Evicted`, `OutOfnvidia.com/gpu`, `Terminated`: said of the pod, whatever its container says.
      worded(reason, message),
      ended === undefined ? null : terminationWords(ended),
    ]) ?? `ended (${pod.status?.phase})`
  );
}

/** `OOMKilled: exit code 137`. */
function terminationWords(ended: V1ContainerStateTerminated): string {
  const { exitCode, signal, reason, message } = ended;
  const exit = signal === undefined || signal === 0 ? `exit code ${exitCode}` : `signal ${signal}`;
  return worded(reason, joined([exit, message ?? null])) ?? exit;
}

/** Who wanted it gone, where that was not us: the cluster says so in a condition. */
function disruption(pod: V1Pod): string | null {
  const condition = conditionOf(pod, "DisruptionTarget");
  return condition?.status === "True" ? worded(condition.reason, condition.message) : null;
}

function isUnplaced(
  pod: V1Pod,
  state: ProvidedMachine["state"],
  timeoutMs: number,
  now: number,
): boolean {
  if (state === "ended") return NO_ROOM.test(pod.status?.reason ?? "");
  if (state !== "pending" || pod.spec?.nodeName !== undefined) return false;
  const scheduled = conditionOf(pod, "PodScheduled");
  if (scheduled?.status === "True") return false;
  const since =
    epochMs(scheduled?.lastTransitionTime) ?? epochMs(pod.metadata?.creationTimestamp) ?? now;
  return now - since >= timeoutMs;
}

function conditionOf(pod: V1Pod, type: string): V1PodCondition | undefined {
  return pod.status?.conditions?.find((one) => one.type === type);
}

/** Of our own container first: others were injected by the cluster. */
function containersOf(pod: V1Pod): readonly V1ContainerStatus[] {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  const isOurs = ({ name }: V1ContainerStatus): boolean => name === CONTAINER;
  return [
    ...containerStatuses.filter(isOurs),
    ...initContainerStatuses,
    ...containerStatuses.filter((one) => !isOurs(one)),
  ];
}

/** `ImagePullBackOff: Back-off pulling image …`. */
function worded(reason: string | undefined, message: string | null | undefined): string | null {
  const parts = [reason, message].filter((one) => one !== undefined && one !== null && one !== "");
  return parts.length === 0 ? null : parts.join(": ");
}

function joined(parts: readonly (string | null)[]): string | null {
  const said = parts.filter((part) => part !== null);
  return said.length === 0 ? null : said.join("; ");
}

function shortened(reason: string | null): string | null {
  const line = reason?.replace(/\s+/g, " ").trim() ?? null;
  return line !== null && line.length > REASON_MAX ? `${line.slice(0, REASON_MAX)}…` : line;
}

function epochMs(at: Date | undefined): number | null {
  const ms = at?.getTime() ?? Number.NaN;
  return Number.isNaN(ms) ? null : ms;
}
