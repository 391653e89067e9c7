import { createHash } from "node:crypto";
import type { ComfyClient } from "@holdfast/comfyui";
import { collectOutputFiles, type OutputFileRef } from "@holdfast/comfyui/protocol";
import {
  isHoldfastError,
  MAX_NODE_ID_LENGTH,
  type CollectedOutput,
  type ControlPlaneLink,
  type Lease,
} from "@holdfast/contract";
import type { Clock, Failpoints, Random } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { troubleText } from "./evidence.ts";
import type { AgentLimits } from "./limits.ts";
import { untilAnswered } from "./link-retry.ts";
import { isOfOtherAttempt, mediaTypeOf, outputKindOf, outputNameOf } from "./output-name.ts";
import type { Spool, SpooledBlob } from "./spool.ts";
import { cleanText, cutText } from "./wire-text.ts";

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

/** What a fetch is made of. */
export type FetchDeps = Pick<CollectorDeps, "client" | "clock" | "isGone" | "signal" | "spool"> & {
  readonly limits: Pick<AgentLimits, "fetchTries">;
};

type Item =
  | { readonly kind: "stored"; readonly output: CollectedOutput }
  | { readonly kind: "already"; readonly nodeId: string }
  | { readonly kind: "missing"; readonly missing: MissingOutput };

interface Job {
  readonly run: () => Promise<Item>;
  readonly result: Promise<Item>;
}

const FIRST_PAUSE_MS = 100;
/** Longest text that travels inside a report. */
const TEXT_MAX = 16_384;
/** Longest part of a made-up name that a node's id may be. */
const MADE_UP_MAX = 400;

/** Brings an attempt's outputs from ComfyUI to the store, each as soon as it is named (F30). */
export class Collector {
  readonly #deps: CollectorDeps;
  readonly #jobs = new Map<string, Job>();
  readonly #blobs = new Map<string, SpooledBlob>();
  readonly #stored: ReadonlySet<string>;
  readonly #pixelCounts = new Map<string, number>();
  /** Ends what is still on its way: the attempt has ended, or is not ours any more. */
  readonly #over = new AbortController();
  readonly #gate: ReturnType<typeof createGate>;

  constructor(deps: CollectorDeps) {
    const { signal } = this.#over;
    this.#deps = { ...deps, signal };
    const onAbort = (): void => this.#over.abort(deps.signal.reason);
    deps.signal.addEventListener("abort", onAbort, { once: true });
    signal.addEventListener("abort", () => deps.signal.removeEventListener("abort", onAbort), {
      once: true,
    });
    this.#stored = new Set(deps.lease.storedOutputs.map((o) => `${o.nodeId}#${o.ordinal}`));
    this.#gate = createGate(deps.limits.fetchesPerAttempt);
  }

  /** Everything in what a node showed; safe to repeat with the same or with more. */
  show(shownBy: string, output: unknown): void {
    const nodeId = wireNodeId(shownBy);
    const { files, texts } = collectOutputFiles(output);
    for (const [ordinal, file] of files.entries()) {
      this.#add(nodeId, ordinal, () => this.#fetchFile(nodeId, ordinal, file));
    }
    for (const [index, text] of texts.entries()) {
      const facts = {
        nodeId,
        ordinal: files.length + index,
        kind: "text",
        name: madeUpName(nodeId, index + 1, "txt"),
        mediaType: "text/plain; charset=utf-8",
        text: text.length <= TEXT_MAX ? cleanText(text) : null,
      } as const;
      this.#add(nodeId, facts.ordinal, () => this.#storeBytes(facts, Buffer.from(text, "utf8")));
    }
  }

  /** A picture that came over the socket and is in no file. */
  showPixels(shownBy: string, bytes: Uint8Array): void {
    const nodeId = wireNodeId(shownBy);
    const ordinal = this.#pixelCounts.get(nodeId) ?? 0;
    this.#pixelCounts.set(nodeId, ordinal + 1);
    const name = madeUpName(nodeId, ordinal + 1, "png");
    const facts = { nodeId, ordinal, kind: "image", name, mediaType: "image/png" } as const;
    this.#add(nodeId, ordinal, () => this.#storeBytes({ ...facts, text: null }, bytes));
  }

  /** Waits until all that was shown is stored, or cannot be had; the missing are tried once more. */
  async settle(): Promise<Collection> {
    const jobs = [...this.#jobs.entries()];
    const first = await Promise.all(jobs.map(([, job]) => job.result));
    if (!this.#deps.isGone()) {
      // Named in an event and not there yet, or the connection broke: the run is over now.
      const failed = jobs.filter((_, index) => first[index]?.kind === "missing");
      for (const [key, job] of failed) this.#begin(key, job.run);
    }
    return toCollection(await Promise.all([...this.#jobs.values()].map((job) => job.result)));
  }

  /** Uploads bytes again that the store has lost; false when they are gone here too. */
  async putAgain(hashes: readonly string[]): Promise<boolean> {
    const sources = hashes.flatMap((sha256) => this.#blobs.get(sha256) ?? []);
    if (sources.length < hashes.length) return false;
    for (const source of sources) {
      try {
        await this.#deps.link.putBlob(source, this.#deps.signal);
      } catch (error) {
        if (source.isLost()) return false;
        throw error;
      }
    }
    return true;
  }

  /**
   * Lets the bytes go: the report that names them is answered. An attempt may end before all that it
   * showed is collected (a stall, a death); what comes after this is not kept.
   */
  async release(): Promise<void> {
    this.#over.abort(new Error("the attempt has ended"));
    for (const blob of this.#blobs.values()) await blob.release();
    this.#blobs.clear();
  }

  #add(nodeId: string, ordinal: number, run: () => Promise<Item>): void {
    const key = `${nodeId}#${ordinal}`;
    if (this.#jobs.has(key)) return;
    const isStored = this.#stored.has(key);
    this.#begin(key, isStored ? () => Promise.resolve({ kind: "already", nodeId }) : run);
  }

  #begin(key: string, run: () => Promise<Item>): void {
    const result = this.#gate(run);
    // `settle` tells; until then nobody may be listening.
    result.catch(() => undefined);
    this.#jobs.set(key, { run, result });
  }

  async #fetchFile(nodeId: string, ordinal: number, file: OutputFileRef): Promise<Item> {
    const { failpoints, lease } = this.#deps;
    const name = outputNameOf(file, lease.attemptId);
    const missing = (reason: string): Item => {
      return { kind: "missing", missing: { nodeId, ordinal, name, reason } };
    };
    if (isOfOtherAttempt(file, lease.attemptId)) {
      return missing("ComfyUI named the file of another attempt (cached)");
    }
    await failpoints.hit("agent.output-named");
    const fetched = await this.#takeAndPut(async () => {
      const blob = await fetchToSpool(this.#deps, file);
      if (typeof blob !== "string") await failpoints.hit("agent.output-fetched");
      return blob;
    });
    if (typeof fetched === "string") return missing(fetched);
    const { sizeBytes, sha256 } = fetched;
    const kind = outputKindOf(file);
    const mediaType = mediaTypeOf(file.filename);
    const temporary = file.type === "temp";
    const facts = { nodeId, ordinal, kind, name, mediaType, sizeBytes, sha256, temporary };
    return { kind: "stored", output: { ...facts, text: null } };
  }

  async #storeBytes(
    facts: Pick<CollectedOutput, "kind" | "mediaType" | "name" | "nodeId" | "ordinal" | "text">,
    bytes: Uint8Array,
  ): Promise<Item> {
    const { nodeId, ordinal, name } = facts;
    const blob = await this.#takeAndPut(() => this.#deps.spool.take(oneOf(bytes)));
    if (typeof blob === "string") {
      return { kind: "missing", missing: { nodeId, ordinal, name, reason: blob } };
    }
    const { sha256, sizeBytes } = blob;
    return { kind: "stored", output: { ...facts, sizeBytes, sha256, temporary: false } };
  }

  /**
   * Takes bytes and puts them into the store. Bytes that this machine's own disk has lost meanwhile
   * are taken anew, a few times; no waiting would bring them back. Why it cannot be, otherwise.
   */
  async #takeAndPut(take: () => Promise<SpooledBlob | string>): Promise<SpooledBlob | string> {
    for (let attempt = 1; attempt <= this.#deps.limits.fetchTries; attempt += 1) {
      const blob = await take();
      if (typeof blob === "string" || (await this.#put(blob))) return blob;
    }
    return "the agent's disk loses what is kept on it";
  }

  /** Waits as long as the store is down, never fails because of it; false when the bytes are lost. */
  async #put(blob: SpooledBlob): Promise<boolean> {
    const { link, signal, failpoints } = this.#deps;
    if (signal.aborted) await blob.release();
    signal.throwIfAborted();
    const known = this.#blobs.get(blob.sha256);
    const held = known?.isLost() === true ? undefined : known;
    if (held === undefined) this.#blobs.set(blob.sha256, blob);
    else await blob.release();
    const source = held ?? blob;
    try {
      await untilAnswered(
        this.#deps,
        signal,
        () => link.putBlob(source, signal),
        (err, attempt) => {
          if (source.isLost()) throw err;
          return attempt === 1 ? this.#onStoreDown(source, err) : undefined;
        },
      );
    } catch (err) {
      if (isHoldfastError(err, "checksum_mismatch")) source.lose();
      if (signal.aborted || !source.isLost()) throw err;
      const { lease, log } = this.#deps;
      log.warn({ attemptId: lease.attemptId, err }, "output was lost on this machine's disk");
      return false;
    }
    await failpoints.hit("agent.output-stored");
    return true;
  }

  async #onStoreDown(source: SpooledBlob, err: unknown): Promise<void> {
    const { lease, log } = this.#deps;
    log.warn({ attemptId: lease.attemptId, err }, "store does not take output, keeping it");
    try {
      await source.toDisk();
    } catch (error) {
      // A full disk must not end the waiting: the bytes are in memory as well then.
      log.warn({ attemptId: lease.attemptId, err: error }, "output could not be put on disk");
    }
  }
}

/** A node's id as the wire takes it; one that is too long keeps apart from others by its hash. */
function wireNodeId(nodeId: string): string {
  if (nodeId.length <= MAX_NODE_ID_LENGTH) return cleanText(nodeId);
  const mark = `~${createHash("sha256").update(nodeId).digest("hex").slice(0, 16)}`;
  return cutText(nodeId, MAX_NODE_ID_LENGTH - mark.length) + mark;
}

function madeUpName(nodeId: string, count: number, extension: string): string {
  const own = nodeId.replaceAll(/[^\w.-]/g, "-").slice(-MADE_UP_MAX);
  return `${own}-${count}.${extension}`;
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
export async function fetchToSpool(
  deps: FetchDeps,
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
