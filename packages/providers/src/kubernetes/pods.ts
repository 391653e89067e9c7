/** The pods of one pool: list, make, end. */
import type { MachineRequest, Provided } from "@holdfast/fleet";
import type { V1Pod } from "@kubernetes/client-node";
import { isName, type FleetLabel } from "../label.ts";
import { ok, trouble } from "../provided.ts";
import { statusOf, troubleOfRefusal, type ApiRefusal } from "./api-trouble.ts";
import type { ApiAnswer, Cluster } from "./cluster.ts";
import { isOurPod, podOf, podSelector, secretOf } from "./pod-spec.ts";
import type { KubernetesSettings } from "./settings.ts";

/** Where the pods of a pool are, and which they are. */
export interface PodPool {
  readonly cluster: Cluster;
  readonly settings: KubernetesSettings;
  readonly label: FleetLabel;
}

/** What was found, by the server's clock (epoch ms; null where it does not tell). */
export interface Seen<T> {
  readonly found: T;
  readonly serverNow: number | null;
}

/** Pods asked for at a time, and at most. */
const PAGE_SIZE = 250;
const PAGES_MAX = 20;

/** All pods of a pool. */
export async function listPods(
  { cluster, settings, label }: PodPool,
  signal: AbortSignal,
): Promise<Provided<Seen<readonly V1Pod[]>>> {
  const pods: V1Pod[] = [];
  let next: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const request = {
      namespace: settings.namespace,
      labelSelector: podSelector(label),
      limit: PAGE_SIZE,
      ...(next === undefined ? {} : { _continue: next }),
    };
    const answer = await cluster.call(signal, ({ core }, options) =>
      core.listNamespacedPod(request, options),
    );
    if (answer.kind !== "ok") return troubled(answer);
    const items: unknown = answer.value.items;
    if (!Array.isArray(items) || !answer.value.items.every(isPod)) return noPod("a list of pods");
    pods.push(...answer.value.items);
    next = answer.value.metadata?._continue;
    if (next === undefined || next === "") return ok({ found: pods, serverNow: answer.serverNow });
  }
  return trouble("unavailable", `the pool has more than ${PAGE_SIZE * PAGES_MAX} pods`);
}

/** Makes a pod and its environment; one of this name that is ours is taken as it is (I1, I2). */
export async function createPod(
  pool: PodPool,
  request: Pick<MachineRequest, "name" | "offer">,
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Provided<Seen<V1Pod>>> {
  const { cluster, settings, label } = pool;
  const body = podOf(request, label, settings);
  const answer = await cluster.call(signal, ({ core }, options) =>
    core.createNamespacedPod({ namespace: settings.namespace, body }, options),
  );
  if (answer.kind === "ok") {
    if (!isPod(answer.value)) return noPod("a pod", { mayHaveHappened: true });
    const made = { found: answer.value, serverNow: answer.serverNow, isNew: true };
    return withEnvironment(pool, made, env, signal);
  }
  if (!isRefused(answer, "AlreadyExists")) return troubled(answer);
  const there = await readPod(pool, request.name, signal);
  if (there.kind === "trouble") return there;
  const pod = there.value.found;
  if (pod === null) {
    const why = `pod ${request.name} was there, and is gone: nothing was made`;
    return trouble("unavailable", why);
  }
  if (!isOurPod(pod, label, request.name)) {
    return trouble("invalid", `there is a pod ${request.name} already, which is not of this pool`);
  }
  const known = { found: pod, serverNow: there.value.serverNow, isNew: false };
  return withEnvironment(pool, known, env, signal);
}

/** Ends a pod, if it is one of ours; one that is gone has been ended. */
export async function deletePod(
  pool: PodPool,
  name: string,
  graceSec: number,
  signal: AbortSignal,
): Promise<Provided<null>> {
  // No pod of ours has another kind of name.
  if (!isName(name)) return ok(null);
  const there = await readPod(pool, name, signal);
  if (there.kind === "trouble") return there;
  const pod = there.value.found;
  if (pod === null) return ok(null);
  if (!isOurPod(pod, pool.label, name)) {
    return trouble("invalid", `pod ${name} is not of this pool: it is not touched`);
  }
  return endPod(pool, pod, graceSec, signal);
}

/** Ends exactly this pod, and none that came after it under its name. */
export async function endPod(
  { cluster, settings }: PodPool,
  pod: V1Pod,
  graceSec: number,
  signal: AbortSignal,
): Promise<Provided<null>> {
  const { name = "", uid } = pod.metadata ?? {};
  const request = {
    name,
    namespace: settings.namespace,
    body: {
      gracePeriodSeconds: graceSec,
      propagationPolicy: "Background",
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    },
  };
  const answer = await cluster.call(signal, ({ core }, options) =>
    core.deleteNamespacedPod(request, options),
  );
  if (answer.kind === "ok") return ok(null);
  const isGone = isRefused(answer, "NotFound") || isRefused(answer, "Conflict");
  return isGone ? ok(null) : troubled(answer);
}

/** What a refusal or a broken connection means. */
export function troubled(
  answer: Exclude<ApiAnswer<unknown>, { readonly kind: "ok" }>,
): Extract<Provided<never>, { readonly kind: "trouble" }> {
  if (answer.kind === "trouble") return answer;
  return { kind: "trouble", trouble: troubleOfRefusal(answer.refusal) };
}

async function readPod(
  { cluster, settings }: PodPool,
  name: string,
  signal: AbortSignal,
): Promise<Provided<Seen<V1Pod | null>>> {
  const answer = await cluster.call(signal, ({ core }, options) =>
    core.readNamespacedPod({ name, namespace: settings.namespace }, options),
  );
  if (answer.kind === "ok") {
    if (!isPod(answer.value)) return noPod("a pod");
    return ok({ found: answer.value, serverNow: answer.serverNow });
  }
  return isRefused(answer, "NotFound") ? ok({ found: null, serverNow: null }) : troubled(answer);
}

/**
 * Gives a pod its environment (I3). One that is there already was made by an earlier try: the name is
 * used once. A new pod without it would wait for ever, so it is ended again where that can be done; one
 * that was there before is not ours to end here.
 */
async function withEnvironment(
  pool: PodPool,
  seen: Seen<V1Pod> & { readonly isNew: boolean },
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Provided<Seen<V1Pod>>> {
  const { cluster, settings, label } = pool;
  const { name = "", uid = "", deletionTimestamp } = seen.found.metadata ?? {};
  // Nothing of a pod starts without its environment: what has started has it.
  const isWaiting = deletionTimestamp === undefined && seen.found.status?.phase === "Pending";
  if (!seen.isNew && !isWaiting) return ok(seen);
  const body = secretOf({ name, uid }, env, label, settings);
  const answer = await cluster.call(signal, ({ core }, options) =>
    core.createNamespacedSecret({ namespace: settings.namespace, body }, options),
  );
  if (answer.kind === "ok" || isRefused(answer, "AlreadyExists")) return ok(seen);
  const { kind, message, retryAfterMs } = troubled(answer).trouble;
  const isEnded = seen.isNew && (await endPod(pool, seen.found, 0, signal)).kind === "ok";
  return trouble(kind, `the Secret of pod ${name} could not be made: ${message}`, {
    ...(retryAfterMs === null ? {} : { retryAfterMs }),
    mayHaveHappened: !isEnded,
  });
}

/** Something between us and the cluster may answer in its place. */
function isPod({ metadata }: V1Pod): boolean {
  return metadata?.name !== undefined && metadata.uid !== undefined;
}

function noPod(
  expected: string,
  more: { readonly mayHaveHappened?: boolean } = {},
): ReturnType<typeof trouble> {
  return trouble(
    "unavailable",
    `expected ${expected} from the cluster, found something else`,
    more,
  );
}

function isRefused(
  answer: ApiAnswer<unknown>,
  reason: "AlreadyExists" | "NotFound" | "Conflict",
): answer is { readonly kind: "refused"; readonly refusal: ApiRefusal } {
  return answer.kind === "refused" && statusOf(answer.refusal).reason === reason;
}
