import type { ComfyClient, SubmitOutcome } from "@holdfast/comfyui";
import type { Graph, PromisedOutput } from "@holdfast/comfyui/protocol";
import type { Lease } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import {
  nodeErrorsEvidence,
  rejectionEvidence,
  toEvidence,
  troubleText,
  type Evidence,
} from "./evidence.ts";
import type { Instance } from "./instance.ts";

/** What became of a lease's POST. */
export type Posted =
  | { readonly kind: "posted"; readonly promptId: string }
  /** It may have been taken, but an output would be missing: to be removed (F2). */
  | { readonly kind: "refused"; readonly evidence: Evidence; readonly isQueued: boolean }
  /** An uploaded input is not there any more: somebody cleaned the input folder. */
  | { readonly kind: "input_gone"; readonly evidence: Evidence };

/** Rounds of `submitOnce`, each of which posts and looks several times. */
const MAX_ROUNDS = 4;
const FIRST_PAUSE_MS = 500;

/**
 * Posts a prompt once (F1, F27): `submitOnce` looks the id up before any second POST, and so does
 * every further round. `extra_data` says whose it is, and holds nothing secret (F28).
 */
export async function postPrompt(
  lease: Lease,
  prepared: { readonly graph: Graph; readonly promised: readonly PromisedOutput[] },
  deps: {
    readonly instance: Pick<Instance, "inTurn" | "observe" | "noteTrouble">;
    readonly client: Pick<ComfyClient, "submitOnce">;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  },
): Promise<Posted> {
  const { promptId } = lease;
  const extraData = { holdfast: { attemptId: lease.attemptId, jobId: lease.jobId } };
  for (let round = 1; ; round += 1) {
    const outcome = await deps.instance.inTurn(async () => {
      const request = { promptId, graph: prepared.graph, extraData };
      const options = { lookFirst: round > 1, signal: deps.signal };
      const answered = await deps.client.submitOnce(request, options);
      observe(answered, deps.instance);
      return answered;
    });
    switch (outcome.kind) {
      case "accepted":
        return toPosted(outcome, prepared.promised);
      case "rejected":
        return toRefused(outcome.rejection, lease);
      case "ambiguous":
      case "not_sent": {
        // A refused connection ends the attempt from here, by the signal.
        deps.instance.noteTrouble(outcome.cause);
        if (round >= MAX_ROUNDS) {
          const evidence = toEvidence("connection", troubleText(outcome.cause));
          return { kind: "refused", evidence, isQueued: outcome.kind === "ambiguous" };
        }
        await deps.clock.sleep(FIRST_PAUSE_MS * 2 ** (round - 1), deps.signal);
      }
    }
  }
}

function observe(outcome: SubmitOutcome, instance: Pick<Instance, "observe">): void {
  if (outcome.kind !== "accepted") return;
  const { promptId, number } = outcome;
  if (number !== undefined && outcome.via === "answer") {
    instance.observe({ kind: "accepted", promptId, number });
  } else {
    instance.observe({ kind: "looked_up", promptId, where: "queue" });
  }
}

function toPosted(
  outcome: Extract<SubmitOutcome, { kind: "accepted" }>,
  promised: readonly PromisedOutput[],
): Posted {
  if (outcome.nodeErrors.length > 0) {
    const message = "ComfyUI took the graph but dropped outputs that failed validation.";
    const fallback = { type: "prompt_outputs_failed_validation", message, httpStatus: 200 };
    const evidence = nodeErrorsEvidence(outcome.nodeErrors, fallback);
    return { kind: "refused", evidence, isQueued: true };
  }
  const { outputs } = outcome;
  const dropped = promised.find(({ nodeId }) => outputs?.includes(nodeId) === false);
  if (dropped !== undefined) {
    const message = `ComfyUI dropped output node ${dropped.nodeId} (${dropped.classType}).`;
    const evidence = toEvidence("validation", message, {
      validationType: "prompt_outputs_failed_validation",
      nodeId: dropped.nodeId,
      nodeType: dropped.classType,
    });
    return { kind: "refused", evidence, isQueued: true };
  }
  return { kind: "posted", promptId: outcome.promptId };
}

function toRefused(
  rejection: Extract<SubmitOutcome, { kind: "rejected" }>["rejection"],
  lease: Lease,
): Posted {
  const evidence = rejectionEvidence(rejection);
  const isAboutInput =
    rejection.kind === "invalid_graph" &&
    rejection.nodeErrors.some(
      (node) =>
        lease.inputs.some((input) => input.nodeId === node.nodeId) &&
        node.errors.some((error) => error.type === "custom_validation_failed"),
    );
  return isAboutInput
    ? { kind: "input_gone", evidence }
    : { kind: "refused", evidence, isQueued: false };
}
