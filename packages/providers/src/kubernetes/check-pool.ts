/** What is wrong with a pool's settings, as far as its cluster can tell. */
import type { MachineOffer, Provided } from "@holdfast/fleet";
import { ok, trouble } from "../provided.ts";
import { statusOf } from "./api-trouble.ts";
import { podOf } from "./pod-spec.ts";
import { troubled, type PodPool } from "./pods.ts";

/** What is done in the namespace, as a Role spells it. */
const NEEDED = [
  { resource: "pods", verb: "create" },
  { resource: "pods", verb: "get" },
  { resource: "pods", verb: "list" },
  { resource: "pods", verb: "delete" },
  { resource: "secrets", verb: "create" },
] as const;

/**
 * Asks what we may do, and has the cluster look at a pod without making it: that also finds a namespace,
 * a RuntimeClass or a ServiceAccount that is not there, and what the cluster's policies refuse.
 */
export async function checkPool(
  pool: PodPool,
  offer: MachineOffer,
  signal: AbortSignal,
): Promise<Provided<readonly string[]>> {
  const denied: string[] = [];
  for (const { resource, verb } of NEEDED) {
    const access = await mayDo(pool, resource, verb, signal);
    if (access.kind === "trouble") return asFinding(access);
    if (!access.value) denied.push(`${verb} ${resource}`);
  }
  const { namespace } = pool.settings;
  const ofRights = `may not ${denied.join(", ")} in the namespace ${namespace}: give it a Role that can`;
  // Without the right to make pods the trial says nothing but that.
  if (denied.includes("create pods")) return trouble("unauthorized", ofRights);
  const trial = await tryPod(pool, offer, signal);
  if (denied.length === 0) return trial.kind === "trouble" ? asFinding(trial) : trial;
  // Rights can be given while this runs; what is wrong in the file cannot be mended there.
  const findings = trial.kind === "ok" ? trial.value : [];
  return findings.length === 0 ? trouble("unauthorized", ofRights) : ok([ofRights, ...findings]);
}

async function mayDo(
  { cluster, settings }: PodPool,
  resource: string,
  verb: string,
  signal: AbortSignal,
): Promise<Provided<boolean>> {
  const body = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    spec: { resourceAttributes: { namespace: settings.namespace, resource, verb } },
  };
  const answer = await cluster.call(signal, ({ authorization }, options) =>
    authorization.createSelfSubjectAccessReview({ body }, options),
  );
  if (answer.kind === "ok") return ok(answer.value.status?.allowed ?? false);
  // Some clusters do not let everybody ask: then only trying tells.
  if (answer.kind === "refused" && answer.refusal.status === 403) return ok(true);
  return troubled(answer);
}

async function tryPod(
  { cluster, settings, label }: PodPool,
  offer: MachineOffer,
  signal: AbortSignal,
): Promise<Provided<readonly string[]>> {
  const body = podOf({ name: `holdfast-check-${label.pool}`, offer }, label, settings);
  const request = { namespace: settings.namespace, body, dryRun: "All" };
  const answer = await cluster.call(signal, ({ core }, options) =>
    core.createNamespacedPod(request, options),
  );
  if (answer.kind === "ok") return ok([]);
  if (answer.kind === "trouble") return answer;
  const { message } = statusOf(answer.refusal);
  if (answer.refusal.status === 404) return ok([`there is no namespace ${settings.namespace}`]);
  // A webhook that does not take trials says nothing of the settings.
  if (/does not support dry run/.test(message)) return ok([]);
  const refused = troubled(answer);
  // No room now is no mistake.
  if (refused.trouble.kind === "capacity") return ok([]);
  return asFinding(refused);
}

/** What is wrong in the file is what was asked for; a key that is refused may be renewed meanwhile. */
function asFinding(
  found: Extract<Provided<never>, { readonly kind: "trouble" }>,
): Provided<readonly string[]> {
  const { kind, message } = found.trouble;
  return kind === "invalid" ? ok([message]) : found;
}
