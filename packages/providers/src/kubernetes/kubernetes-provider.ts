/**
 * Machines that are pods of a Kubernetes cluster.
 *
 * - I1: a pod's name is its machine's, and names are unique in a namespace: asking twice makes one pod.
 * - I2: only pods that carry the labels of this fleet and pool are told, taken or ended.
 * - I3: the pod is made first and its environment after it, owned by it: what is left of a cut-off
 *   `create` is a pod that waits, which is listed and ended like any other.
 */
import type { Provided } from "@holdfast/fleet";
import { invariant, type Clock } from "@holdfast/runtime";
import type { V1Pod } from "@kubernetes/client-node";
import { checkedLabel, LABEL_ENV, type FleetLabel } from "../label.ts";
import { offersOf } from "../offers.ts";
import { machineEnvironment, withoutValues, type PoolEnvironment } from "../pool-environment.ts";
import type { MachineProvider } from "../port.ts";
import { ok, requestTrouble, trouble } from "../provided.ts";
import { checkPool } from "./check-pool.ts";
import { createCluster } from "./cluster.ts";
import { createPod, deletePod, endPod, listPods, type PodPool } from "./pods.ts";
import { endedAt, machineOfPod } from "./pod-state.ts";
import type { KubernetesSettings } from "./settings.ts";

/** What a pool of pods is made of. */
export interface KubernetesProviderOptions extends PoolEnvironment {
  readonly label: FleetLabel;
  readonly settings: KubernetesSettings;
  /** For an API server that does not tell its own time. */
  readonly clock: Clock;
  /** How long one call of the API may take; half a minute unless set. */
  readonly requestTimeoutMs?: number;
}

/** Ended pods that are removed in one look. */
const FORGOTTEN_MAX = 10;
const MS_PER_SEC = 1_000;

/** See the head of this file. The client is loaded, and the kubeconfig read, at the first call. */
export function createKubernetesProvider(options: KubernetesProviderOptions): MachineProvider {
  const { settings, clock } = options;
  const label = checkedLabel(options.label);
  const cluster = createCluster(settings, options.requestTimeoutMs);
  const pool: PodPool = { cluster, settings, label };
  const { gpuTypes, zones } = settings;
  const offers = offersOf({ gpuTypes, zones, spot: "never" });
  return {
    kind: "kubernetes",
    offers,
    async list(signal) {
      const seen = await listPods(pool, signal);
      if (seen.kind === "trouble") return nothingMade(seen);
      const { found, serverNow } = seen.value;
      const now = serverNow ?? clock.now();
      await forgetEnded(pool, found, now, signal);
      return ok(found.map((pod) => machineOfPod(pod, settings, now)));
    },
    async create(request, signal) {
      const wrong = requestTrouble(request);
      if (wrong !== undefined) return wrong;
      const ofLabel = { [LABEL_ENV.fleet]: label.fleet, [LABEL_ENV.pool]: label.pool };
      const environment = await machineEnvironment(options, { ...request.env, ...ofLabel });
      if (environment.kind === "invalid") {
        return trouble("invalid", environment.problems.join("; "));
      }
      const seen = await createPod(pool, request, environment.env, signal);
      if (seen.kind === "trouble") {
        const message = withoutValues(seen.trouble.message, environment.env);
        return { kind: "trouble", trouble: { ...seen.trouble, message } };
      }
      const { found, serverNow } = seen.value;
      return ok(machineOfPod(found, settings, serverNow ?? clock.now()));
    },
    async terminate(ref, signal) {
      return nothingMade(await deletePod(pool, ref, settings.terminationGraceSec, signal));
    },
    async check(signal) {
      const environment = await machineEnvironment(options, {});
      const ofFiles = environment.kind === "invalid" ? environment.problems : [];
      const [offer] = offers;
      invariant(offer !== undefined, "a pool has an offer");
      const checked = await checkPool(pool, offer, signal);
      return checked.kind === "trouble" ? nothingMade(checked) : ok([...ofFiles, ...checked.value]);
    },
    async close() {
      // Each call has a connection of its own: there is none to let go of.
      cluster.forget();
    },
  };
}

/** Removes pods that ended long ago, a few at a time: nobody else does, and their names are not used again. */
async function forgetEnded(
  pool: PodPool,
  pods: readonly V1Pod[],
  now: number,
  signal: AbortSignal,
): Promise<void> {
  const keepMs = pool.settings.keepEndedSec * MS_PER_SEC;
  const old = pods.filter((pod) => {
    const at = endedAt(pod);
    return at !== null && now - at >= keepMs;
  });
  for (const pod of old.slice(0, FORGOTTEN_MAX)) {
    const ended = await endPod(pool, pod, 0, signal);
    // The list is what was asked for; the next one tries again.
    if (ended.kind === "trouble") return;
  }
}

/** Of a call that asks for no machine: none was made by it. */
function nothingMade<T>(provided: Provided<T>): Provided<T> {
  if (provided.kind === "ok") return provided;
  return { kind: "trouble", trouble: { ...provided.trouble, mayHaveHappened: false } };
}
