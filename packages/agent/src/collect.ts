import type { ComfyClient } from "@holdfast/comfyui";
import { collectOutputFiles, type OutputFileRef } from "@holdfast/comfyui/protocol";
import type { CollectedOutput, ControlPlaneLink, Lease } from "@holdfast/contract";
import type { Clock, Failpoints, Random } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { troubleText } from "./evidence.ts";
import type { AgentLimits } from "./limits.ts";
import { untilAnswered } from "./link-retry.ts";
import { isOfOtherAttempt, mediaTypeOf, outputKindOf, outputNameOf } from "./output-name.ts";
import type { Spool, SpooledBlob } from "./spool.ts";

/** An output that could not be had. */
export interface MissingOutput {
  readonly nodeId: string;
  readonly ordinal: number;
  readonly name: string;
  readonly reason: string;
}

/** What has been collected of an attempt. */
export interface Collection {
  readonly outputs: readonly CollectedOutput[];
  readonly missing: readonly MissingOutput[];
  /** Nodes of which at least one output is in the store, now or from an earlier attempt. */
  readonly givenNodes: ReadonlySet<string>;
}

/** What a collector is made of. */
export interface CollectorDeps {
  readonly lease: Lease;
  readonly client: Pick<ComfyClient, "view">;
  readonly link: Pick<ControlPlaneLink, "putBlob">;
  readonly spool: Spool;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: AgentLimits;
  readonly failpoints: Failpoints;
  readonly log: AgentLog;
  /** Ends everything: the attempt is not ours any more. */
  readonly signal: AbortSignal;
  /** The instance died: what it has not given by now it never will. */
  readonly isGone: () => boolean;
}

/** Brings an attempt's outputs from ComfyUI to the store, each as soon as it is named (F30). */
export interface Collector {
  /** Everything in what a node showed; safe to repeat with the same or with more. */
  show(nodeId: string, output: unknown): void;
  /** A picture that came over the socket and is in no file. */
  showPixels(nodeId: string, bytes: Uint8Array): void;
  /** Waits until all that was shown is stored, or cannot be had; the missing are tried once more. */
  settle(): Promise<Collection>;
  /** Uploads bytes again that the store has lost; false when they are gone here too. */
  putAgain(hashes: readonly string[]): Promise<boolean>;
  release(): Promise<void>;
}

type Item =
  | { readonly kind: "stored"; readonly output: CollectedOutput }
  | { readonly kind: "already"; readonly nodeId: string }
  | { readonly kind: "missing"; readonly missing: MissingOutput };

interface Job {
  readonly nodeId: string;
  readonly ordinal: number;
  readonly name: string;
  run(): Promise<Item>;
  result: Promise<Item>;
}

const FIRST_PAUSE_MS = 100;
/** Longest text that travels inside a report. */
const TEXT_MAX = 16_384;

/** Makes a collector for one attempt. */
export function createCollector(deps: CollectorDeps): Collector {
  const { lease, signal, log } = deps;
  const jobs = new Map<string, Job>();
  const blobs = new Map<string, SpooledBlob>();
  const stored = new Set(lease.storedOutputs.map((o) => `${o.nodeId}#${o.ordinal}`));
  const pixelCounts = new Map<string, number>();
  const gate = createGate(deps.limits.fetchesPerAttempt);

  const begin = (job: Omit<Job, "result">): void => {
    const result = job.run();
    // `settle` tells; until then nobody may be listening.
    result.catch(() => undefined);
    jobs.set(`${job.nodeId}#${job.ordinal}`, { ...job, result });
  };
  const add = (nodeId: string, ordinal: number, name: string, run: () => Promise<Item>): void => {
    const key = `${nodeId}#${ordinal}`;
    if (jobs.has(key)) return;
    const isStored = stored.has(key);
    begin({
      nodeId,
      ordinal,
      name,
      run: isStored ? () => Promise.resolve({ kind: "already", nodeId }) : () => gate(run),
    });
  };
  /** Bytes into the store; waits as long as the store is down, never fails because of it. */
  const put = async (blob: SpooledBlob): Promise<void> => {
    const held = blobs.get(blob.sha256);
    if (held === undefined) blobs.set(blob.sha256, blob);
    else await blob.release();
    const source = held ?? blob;
    await untilAnswered(
      deps,
      signal,
      () => deps.link.putBlob(source, signal),
      async (err, attempt) => {
        if (attempt !== 1) return;
        log.warn({ attemptId: lease.attemptId, err }, "store does not take output, keeping it");
        // A full disk must not end the waiting: the bytes are in memory as well then.
        await source.toDisk().catch((error: unknown) => {
          log.warn({ attemptId: lease.attemptId, err: error }, "output could not be put on disk");
        });
      },
    );
    await deps.failpoints.hit("agent.output-stored");
  };
  const fetchFile = async (nodeId: string, ordinal: number, file: OutputFileRef): Promise<Item> => {
    const name = outputNameOf(file, lease.attemptId);
    const missing = (reason: string): Item => ({
      kind: "missing",
      missing: { nodeId, ordinal, name, reason },
    });
    if (isOfOtherAttempt(file, lease.attemptId)) {
      return missing("ComfyUI named the file of another attempt (cached)");
    }
    await deps.failpoints.hit("agent.output-named");
    const fetched = await fetchToSpool(deps, file);
    if (typeof fetched === "string") return missing(fetched);
    await deps.failpoints.hit("agent.output-fetched");
    const output: CollectedOutput = {
      nodeId,
      ordinal,
      kind: outputKindOf(file),
      name,
      mediaType: mediaTypeOf(file.filename),
      sizeBytes: fetched.sizeBytes,
      sha256: fetched.sha256,
      temporary: file.type === "temp",
      text: null,
    };
    await put(fetched);
    return { kind: "stored", output };
  };
  const storeBytes = async (
    facts: Pick<CollectedOutput, "nodeId" | "ordinal" | "kind" | "name" | "mediaType" | "text">,
    bytes: Uint8Array,
  ): Promise<Item> => {
    const blob = await deps.spool.take(oneOf(bytes));
    const { sha256, sizeBytes } = blob;
    await put(blob);
    return { kind: "stored", output: { ...facts, sizeBytes, sha256, temporary: false } };
  };

  return {
    show: (nodeId, output) => {
      const { files, texts } = collectOutputFiles(output);
      for (const [ordinal, file] of files.entries()) {
        add(nodeId, ordinal, file.filename, () => fetchFile(nodeId, ordinal, file));
      }
      for (const [index, text] of texts.entries()) {
        const ordinal = files.length + index;
        const name = `${nodeId.replaceAll(/[^\w.-]/g, "-")}-${index + 1}.txt`;
        const kept = text.length <= TEXT_MAX ? text : null;
        const facts = { nodeId, ordinal, kind: "text", name, text: kept } as const;
        const mediaType = "text/plain; charset=utf-8";
        add(nodeId, ordinal, name, () =>
          storeBytes({ ...facts, mediaType }, Buffer.from(text, "utf8")),
        );
      }
    },
    showPixels: (nodeId, bytes) => {
      const ordinal = pixelCounts.get(nodeId) ?? 0;
      pixelCounts.set(nodeId, ordinal + 1);
      const name = `${nodeId.replaceAll(/[^\w.-]/g, "-")}-${ordinal + 1}.png`;
      const facts = { nodeId, ordinal, kind: "image", name, text: null } as const;
      add(nodeId, ordinal, name, () => storeBytes({ ...facts, mediaType: "image/png" }, bytes));
    },
    settle: async () => {
      const first = await Promise.all([...jobs.values()].map((job) => job.result));
      const failed = [...jobs.values()].filter((_, index) => first[index]?.kind === "missing");
      // Named in an event and not there yet, or the connection broke: the run is over now.
      if (!deps.isGone()) for (const job of failed) begin(job);
      const items = await Promise.all([...jobs.values()].map((job) => job.result));
      return toCollection(items);
    },
    putAgain: async (hashes) => {
      const sources = hashes.map((sha256) => blobs.get(sha256));
      if (sources.some((source) => source === undefined)) return false;
      for (const source of sources)
        if (source !== undefined) await deps.link.putBlob(source, signal);
      return true;
    },
    release: async () => {
      for (const blob of blobs.values()) await blob.release();
      blobs.clear();
    },
  };
}

function toCollection(items: readonly Item[]): Collection {
  const outputs = items.flatMap((item) => (item.kind === "stored" ? [item.output] : []));
  return {
    outputs: outputs.toSorted((a, b) =>
      a.nodeId === b.nodeId ? a.ordinal - b.ordinal : a.nodeId < b.nodeId ? -1 : 1,
    ),
    missing: items.flatMap((item) => (item.kind === "missing" ? [item.missing] : [])),
    givenNodes: new Set(
      items.flatMap((item) =>
        item.kind === "stored"
          ? [item.output.nodeId]
          : item.kind === "already"
            ? [item.nodeId]
            : [],
      ),
    ),
  };
}

/** The file in the spool, or why it cannot be had. */
async function fetchToSpool(
  deps: CollectorDeps,
  file: OutputFileRef,
): Promise<SpooledBlob | string> {
  let reason = "";
  for (let attempt = 1; attempt <= deps.limits.fetchTries; attempt += 1) {
    if (attempt > 1) await deps.clock.sleep(FIRST_PAUSE_MS * 2 ** (attempt - 2), deps.signal);
    if (deps.isGone()) return "the instance died before the file was fetched";
    const view = await deps.client.view(file, deps.signal);
    if (view.kind === "missing") return "ComfyUI no longer has the file (404)";
    if (view.kind !== "file") {
      reason = troubleText(view);
      continue;
    }
    try {
      const blob = await deps.spool.take(view.body);
      if (view.sizeBytes === undefined || view.sizeBytes === blob.sizeBytes) return blob;
      reason = `${blob.sizeBytes} of ${view.sizeBytes} bytes came`;
      await blob.release();
    } catch (error) {
      if (deps.signal.aborted) throw error;
      reason = error instanceof Error ? error.message : "the connection broke";
    }
  }
  return reason;
}

/** Lets so many run at a time, the others wait in order. */
function createGate(width: number): <T>(run: () => Promise<T>) => Promise<T> {
  let free = width;
  const queue: (() => void)[] = [];
  return async (run) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await run();
    } finally {
      const next = queue.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}

async function* oneOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
