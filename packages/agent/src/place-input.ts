import { createHash } from "node:crypto";
import type { ComfyClient } from "@holdfast/comfyui";
import { setInput, type Graph } from "@holdfast/comfyui/protocol";
import { isHoldfastError, type ControlPlaneLink, type Lease } from "@holdfast/contract";
import type { AgentLog } from "./agent-log.ts";
import { toEvidence, troubleText, type Evidence } from "./evidence.ts";
import type { AgentLimits } from "./limits.ts";
import { untilAnswered, type RetryDeps } from "./link-retry.ts";
import { HOLDFAST_FOLDER } from "./output-name.ts";

/** What bringing files to an instance is made of. */
export interface PlaceDeps extends RetryDeps {
  readonly client: Pick<ComfyClient, "uploadInput">;
  readonly link: Pick<ControlPlaneLink, "getBlob">;
  readonly log: AgentLog;
  readonly limits: RetryDeps["limits"] & Pick<AgentLimits, "inputTries">;
  /** Hashes that lie in the instance's input folder already. */
  readonly uploaded: Set<string>;
  readonly signal: AbortSignal;
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

/** What became of a file. */
export type Placed =
  | { readonly kind: "placed"; readonly reference: string }
  | { readonly kind: "failed"; readonly evidence: Evidence };

/** Puts one input file under its hash; equal bytes are sent once to a process. */
export async function placeInput(input: Lease["inputs"][number], deps: PlaceDeps): Promise<Placed> {
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

/** The instance may have lost what it was given: the next attempt to prepare gives it again. */
export function forgetUploads(lease: Lease, uploaded: Set<string>): void {
  for (const { sha256 } of [...lease.inputs, ...(lease.resume?.files ?? [])]) {
    for (const name of uploaded) if (name.startsWith(sha256)) uploaded.delete(name);
  }
}

/** The name's ending, as loaders go by it; nothing where it could be anything else. */
function extensionOf(name: string): string {
  const plain = name.replace(/\s*\[(?:input|output|temp)\]$/, "");
  return /\.[A-Za-z0-9]{1,10}$/.exec(plain)?.[0].toLowerCase() ?? "";
}
