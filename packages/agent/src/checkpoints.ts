import type { ComfyClient } from "@holdfast/comfyui";
import { collectOutputFiles } from "@holdfast/comfyui/protocol";
import type {
  AttemptOutcome,
  CheckpointRequest,
  ControlPlaneLink,
  Lease,
  SavedCheckpoint,
} from "@holdfast/contract";
import type { AgentLog } from "./agent-log.ts";
import { REASON_MAX } from "./checkpoint-graph.ts";
import { fetchToSpool, type FetchDeps } from "./collect.ts";
import { untilAnswered, type RetryDeps } from "./link-retry.ts";
import { released } from "./outcome.ts";
import type { Session } from "./reporter.ts";
import type { Spool } from "./spool.ts";
import { cutText } from "./wire-text.ts";

/** What the checkpoints of an attempt are made of. */
export interface CheckpointsDeps extends RetryDeps {
  readonly limits: RetryDeps["limits"] & FetchDeps["limits"];
  readonly isGone: () => boolean;
  readonly lease: () => Lease;
  readonly session: () => Session | undefined;
  readonly client: Pick<ComfyClient, "view">;
  readonly link: Pick<ControlPlaneLink, "checkpoints" | "putBlob">;
  readonly spool: Spool;
  readonly log: AgentLog;
  /** How far the run is, and for how long it has run. */
  readonly progress: () => { readonly percent: number; readonly afterMs: number };
  /** Ends everything: the attempt is not ours any more. */
  readonly stopped: AbortSignal;
}

/** Begins the ids of nodes that save latents, in graphs whose own nodes are not called so. */
const SAVER_PREFIX = "checkpoint:";
/** After a failure so long is waited for latents on their way: the next attempt wants them. */
const SETTLE_MS = 10_000;

/**
 * The latents that an attempt puts away: each is brought to the store and told of as soon as it is
 * there, so that it outlives the instance and this agent (F30). Nothing here ever fails an attempt.
 */
export class Checkpoints {
  readonly #deps: CheckpointsDeps;
  readonly #savers: ReadonlyMap<string, NonNullable<Lease["checkpoints"]>[number]>;
  readonly #loaders: ReadonlyMap<string, string>;
  readonly #begun = new Map<string, Promise<void>>();
  readonly #notes: Promise<void>[] = [];
  readonly #over = new AbortController();

  constructor(deps: CheckpointsDeps) {
    const { checkpoints = [], resume } = deps.lease();
    const onStop = (): void => this.#over.abort(deps.stopped.reason);
    deps.stopped.addEventListener("abort", onStop, { once: true });
    this.#over.signal.addEventListener(
      "abort",
      () => deps.stopped.removeEventListener("abort", onStop),
      { once: true },
    );
    this.#deps = deps;
    this.#savers = new Map(checkpoints.map((checkpoint) => [checkpoint.nodeId, checkpoint]));
    this.#loaders = new Map(resume?.files.map(({ nodeId, key }) => [nodeId, key]));
  }

  /** Whether what a node showed is a checkpoint, and no output: then it is on its way from now on. */
  show(nodeId: string, output: unknown): boolean {
    const saver = this.#savers.get(nodeId);
    // A lease that was granted anew may not name what an earlier one had saved: no output either.
    if (saver === undefined) return isStray(nodeId, this.#deps.lease());
    const [file] = collectOutputFiles(output).files;
    if (file === undefined || this.#begun.has(nodeId)) return true;
    const { percent, afterMs } = this.#deps.progress();
    const saved = this.#save(file, async ({ sha256, sizeBytes }) => {
      const { key, ofNodeId } = saver;
      await this.#tell({
        saved: [{ key, nodeId: ofNodeId, sha256, sizeBytes, percent, afterMs }],
      });
    });
    this.#begun.set(nodeId, saved);
    return true;
  }

  /**
   * What an attempt's outcome is, checkpoints apart. A failure of a node that only saves or loads a
   * latent is not the job's: it is given back at no cost, and runs without that latent; unless it is the
   * machine's.
   */
  async conclude(outcome: AttemptOutcome | undefined): Promise<AttemptOutcome | undefined> {
    switch (outcome?.kind) {
      case "failed": {
        const { nodeId, message } = outcome.evidence;
        const own = typeof nodeId === "string" ? this.#ofNode(nodeId) : undefined;
        // A disk that is full or may not be written is so for the job's own outputs too.
        if (own === undefined || isOfMachine(outcome.evidence["exceptionType"], message)) break;
        const reason = cutText(message, REASON_MAX);
        this.note({ unusable: [{ ...own, reason }] });
        await this.#settle(this.#notes);
        return released(`a checkpoint is of no use: ${reason}`);
      }
      case "stalled":
      case "instance_died":
      case "interrupted":
        break;
      default:
        // Its outputs are all there: what is still on its way is of no use to anybody.
        await this.#settle(this.#notes);
        return outcome;
    }
    await this.#settle([...this.#notes, ...this.#begun.values()]);
    return outcome;
  }

  /** Tells the control plane, in the background. */
  note(facts: Partial<Pick<CheckpointRequest, "resumedFrom" | "unusable">>): void {
    this.#notes.push(this.#tell(facts));
  }

  /** Gives up quietly when the answer is no, or when the attempt is over. */
  async #tell(
    facts: Partial<Pick<CheckpointRequest, "resumedFrom" | "saved" | "unusable">>,
  ): Promise<void> {
    const { log, link } = this.#deps;
    const { signal } = this.#over;
    try {
      await untilAnswered(
        this.#deps,
        signal,
        async () => {
          const session = this.#deps.session();
          if (session === undefined) throw new Error("not registered just now");
          const { attemptId, jobId, leaseEpoch } = this.#deps.lease();
          const nothing = { saved: [], resumedFrom: [], unusable: [] };
          const ids = { attemptId, jobId, leaseEpoch };
          return link.checkpoints({ ...session, ...ids, ...nothing, ...facts }, signal);
        },
        () => undefined,
      );
    } catch (err) {
      const { attemptId } = this.#deps.lease();
      if (!signal.aborted) log.warn({ attemptId, err }, "checkpoint could not be told of");
    }
  }

  #ofNode(nodeId: string): { readonly key: string; readonly nodeId: string } | undefined {
    const saver = this.#savers.get(nodeId);
    if (saver !== undefined) return { key: saver.key, nodeId: saver.ofNodeId };
    const key = this.#loaders.get(nodeId);
    return key === undefined ? undefined : { key, nodeId };
  }

  async #save(
    file: Parameters<typeof fetchToSpool>[1],
    onStored: (blob: Pick<SavedCheckpoint, "sha256" | "sizeBytes">) => Promise<void>,
  ): Promise<void> {
    const { link, log } = this.#deps;
    const { signal } = this.#over;
    const { attemptId } = this.#deps.lease();
    try {
      const blob = await fetchToSpool({ ...this.#deps, signal }, file);
      if (typeof blob === "string") {
        log.warn({ attemptId, reason: blob }, "checkpoint could not be fetched");
        return;
      }
      try {
        await untilAnswered(
          this.#deps,
          signal,
          () => link.putBlob(blob, signal),
          () => undefined,
        );
        await onStored(blob);
      } finally {
        await blob.release();
      }
    } catch (err) {
      if (!signal.aborted) log.warn({ attemptId, err }, "checkpoint could not be stored");
    }
  }

  /** Waits for these, not for ever, and ends the rest. */
  async #settle(pending: readonly Promise<void>[]): Promise<void> {
    const over = (): void => this.#over.abort(new Error("the attempt is over"));
    if (pending.length === 0) return over();
    const done = new AbortController();
    const late = this.#deps.clock.sleep(SETTLE_MS, done.signal).catch(() => undefined);
    await Promise.race([Promise.all(pending), late]);
    done.abort(new Error("settled"));
    over();
  }
}

function isStray(nodeId: string, { graph }: Lease): boolean {
  return nodeId.startsWith(SAVER_PREFIX) && !Object.hasOwn(graph, nodeId);
}

/** Python's errors of the operating system, in the names that `exception_type` has for them. */
const MACHINE_ERRORS: ReadonlySet<string> = new Set(["OSError", "PermissionError"]);
/** Those of safetensors' writer, which wraps them in an error of its own: no room, no access, read-only. */
const MACHINE_WORDS = /os error (?:13|27|28|30|122)\b|no space left|storagefull/i;

function isOfMachine(exceptionType: unknown, message: string): boolean {
  const isNamed = typeof exceptionType === "string" && MACHINE_ERRORS.has(exceptionType);
  return isNamed || MACHINE_WORDS.test(message);
}
