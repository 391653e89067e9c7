import { createHash } from "node:crypto";
import type { ComfyClient } from "@holdfast/comfyui";
import {
  prefixOutputs,
  promisedOutputs,
  setInput,
  validateGraph,
  type Graph,
  type ObjectInfo,
  type PromisedOutput,
} from "@holdfast/comfyui/protocol";
import { isHoldfastError, type ControlPlaneLink, type Lease } from "@holdfast/contract";
import type { AgentLog } from "./agent-log.ts";
import { issuesEvidence, toEvidence, troubleText, type Evidence } from "./evidence.ts";
import type { AgentLimits } from "./limits.ts";
import { untilAnswered, type RetryDeps } from "./link-retry.ts";
import { attemptPrefix, HOLDFAST_FOLDER } from "./output-name.ts";

/** A graph made ready for one attempt, or why it cannot be. */
export type Prepared =
  | {
      readonly kind: "ready";
      readonly graph: Graph;
      readonly promised: readonly PromisedOutput[];
    }
  | { readonly kind: "failed"; readonly evidence: Evidence };

/** What preparing is made of. */
export interface PrepareDeps extends RetryDeps {
  readonly client: Pick<ComfyClient, "uploadInput">;
  readonly link: Pick<ControlPlaneLink, "getBlob">;
  readonly log: AgentLog;
  readonly limits: RetryDeps["limits"] & Pick<AgentLimits, "inputTries">;
  /** Hashes that lie in the instance's input folder already. */
  readonly uploaded: Set<string>;
  readonly signal: AbortSignal;
}

/** Input that makes an output node run again although everything before it is cached. */
const FRESHNESS_INPUT = "holdfast_attempt";

/**
 * Brings a lease's inputs to the instance and rewrites its graph: inputs by hash, output prefixes of
 * the attempt's own (F16). Then looks at it as ComfyUI will, to refuse in better words (F3, F5).
 */
export async function prepare(
  lease: Lease,
  objectInfo: ObjectInfo,
  deps: PrepareDeps,
): Promise<Prepared> {
  // The control plane has parsed it before it was stored.
  const original = lease.graph as Graph;
  const promised = promisedOutputs(original, objectInfo);
  let graph = rewriteOutputs(original, lease.attemptId, promised);
  for (const input of lease.inputs) {
    const placed = await placeInput(input, deps);
    if (placed.kind !== "placed") return placed;
    graph = renameInput(graph, input, placed.reference);
  }
  const issues = validateGraph(graph, objectInfo).filter((issue) => issue.isCertain);
  // Any output that would be dropped is a failure (F2), so one certain issue is enough.
  if (issues.length > 0) return { kind: "failed", evidence: issuesEvidence(issues) };
  return { kind: "ready", graph, promised };
}

/**
 * The graph with names of this attempt's own. An output node without a prefix (`PreviewImage`) gets
 * an input that ComfyUI ignores but counts among those its cache goes by
 * (`get_immediate_node_signature` in comfy_execution/caching.py, 0.3.64): it runs again, and never
 * names a file that somebody has deleted meanwhile.
 */
export function rewriteOutputs(
  graph: Graph,
  attemptId: string,
  promised: readonly PromisedOutput[],
): Graph {
  const { graph: prefixed, prefixed: named } = prefixOutputs(graph, attemptPrefix(attemptId));
  const done = new Set(named);
  return promised
    .filter((output) => !done.has(output.nodeId))
    .reduce<Graph>(
      (result, { nodeId }) => setInput(result, nodeId, FRESHNESS_INPUT, attemptId),
      prefixed,
    );
}

/** Sets an input to the uploaded name: the text itself, or its place in a list of names. */
export function renameInput(
  graph: Graph,
  input: Pick<Lease["inputs"][number], "nodeId" | "input" | "name">,
  reference: string,
): Graph {
  const current = graph[input.nodeId]?.inputs[input.input];
  const list =
    typeof current === "object" && current !== null && "__value__" in current
      ? current.__value__
      : undefined;
  if (!Array.isArray(list)) return setInput(graph, input.nodeId, input.input, reference);
  const renamed = list.map((name: unknown) => (name === input.name ? reference : name));
  return setInput(graph, input.nodeId, input.input, { ...(current as object), __value__: renamed });
}

type Placed =
  | { readonly kind: "placed"; readonly reference: string }
  | { readonly kind: "failed"; readonly evidence: Evidence };

/** Puts one input file under its hash; equal bytes are sent once to a process. */
async function placeInput(input: Lease["inputs"][number], deps: PrepareDeps): Promise<Placed> {
  const name = `${input.sha256}${extensionOf(input.name)}`;
  const reference = `${HOLDFAST_FOLDER}/${name}`;
  if (deps.uploaded.has(name)) return { kind: "placed", reference };
  const failed = (message: string): Placed => ({
    kind: "failed",
    evidence: toEvidence("store", `Input file ${input.name}: ${message}`, { nodeId: input.nodeId }),
  });
  let checksum = "";
  let tries = 0;
  try {
    const outcome = await untilAnswered(
      deps,
      deps.signal,
      async () => {
        const stream = await deps.link.getBlob(input.sha256, deps.signal);
        const sent = await deps.client.uploadInput(
          {
            content: {
              stream: hashing(stream, (sha256) => {
                checksum = sha256;
              }),
              sizeBytes: input.sizeBytes,
            },
            name,
            subfolder: HOLDFAST_FOLDER,
            overwrite: true,
          },
          deps.signal,
        );
        // Whichever side broke off, the next try starts from the first byte. Only so often: while
        // the instance answers otherwise nothing else would ever end this.
        tries += 1;
        const isBroken = sent.kind === "unreachable" || sent.kind === "timeout";
        if (isBroken && tries < deps.limits.inputTries) throw new Error(troubleText(sent));
        return sent;
      },
      (err, attempt) => {
        if (attempt === 1)
          deps.log.warn({ input: input.name, err }, "input could not be moved yet");
      },
    );
    if (outcome.kind === "bad_name") return failed(outcome.message);
    if (outcome.kind === "unreachable" || outcome.kind === "timeout") {
      const message = `Input file ${input.name} could not be sent: ${troubleText(outcome)}`;
      const facts = { nodeId: input.nodeId };
      return { kind: "failed", evidence: toEvidence("connection", message, facts) };
    }
    if (outcome.kind !== "uploaded") return failed(troubleText(outcome));
    if (checksum !== input.sha256) return failed("the store's bytes have another SHA-256");
    deps.uploaded.add(name);
    return { kind: "placed", reference: outcome.reference };
  } catch (error) {
    if (deps.signal.aborted || !isHoldfastError(error)) throw error;
    return failed(error.message);
  }
}

async function* hashing(
  stream: AsyncIterable<Uint8Array>,
  onEnd: (sha256: string) => void,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  for await (const piece of stream) {
    hash.update(piece);
    yield piece;
  }
  onEnd(hash.digest("hex"));
}

/** The name's ending, as loaders go by it; nothing where it could be anything else. */
function extensionOf(name: string): string {
  const plain = name.replace(/\s*\[(?:input|output|temp)\]$/, "");
  return /\.[A-Za-z0-9]{1,10}$/.exec(plain)?.[0].toLowerCase() ?? "";
}
