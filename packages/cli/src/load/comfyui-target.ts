/**
 * A bare ComfyUI, used as its own example client uses it (script_examples/websockets_api_example.py): one
 * POST, one socket until `executing` names no node, one look at the history, each file once. It loses what
 * such a client loses: a POST that is cut is not settled, a prompt whose socket drops is given up, nothing is
 * done twice. That is the point: it is what Holdfast is measured against.
 *
 * Two things it does that the example does not, so that one run does not spoil the next: work that is given
 * up is taken out of the queue (after its POST was answered: before that ComfyUI does not have it yet, and
 * takes it in although its client is gone), and the socket is opened anew for later jobs.
 */
import {
  createComfyClient,
  createComfySocket,
  type ClientTrouble,
  type ComfyClient,
  type FileRef,
  type OpenSocket,
  type SocketEvent,
  type SubmitOutcome,
} from "@holdfast/comfyui";
import { collectOutputFiles, type HistoryEntry, type NodeErrors } from "@holdfast/comfyui/protocol";
import type { JobObservation } from "@holdfast/load";
import { classify, limitEvidence, type FailureEvidence } from "@holdfast/recovery";
import { nextUuid, type Clock, type Random } from "@holdfast/runtime";
import { shownUrl } from "../experiment/shown-url.ts";
import {
  createPromptWatch,
  loaderNodes,
  type PromptEnd,
  type WatchedPrompt,
} from "./comfyui-prompts.ts";
import { startJobTime, type JobTime } from "./job-time.ts";
import {
  UNREACHABLE_CLASS,
  type CardReading,
  type LoadJob,
  type LoadTarget,
  type Rendered,
} from "./load-target.ts";

/** What it is made of. */
export interface ComfyuiTargetOptions {
  readonly url: string;
  readonly version: string | null;
  readonly clock: Clock;
  readonly random: Random;
  /** Takes the place of `ws`. */
  readonly openSocket?: OpenSocket;
  /** Hears what the socket tells, for who wants to know more than a job's phases. */
  readonly onEvent?: (event: SocketEvent) => void;
  /** Gets each output whole, for who wants to look at it; otherwise the bytes are only counted. */
  readonly onFile?: (job: LoadJob, bytes: Buffer) => void;
}

/** Requests at a time: `/prompt` takes milliseconds, files are fetched from the same machine. */
const CONNECTIONS = 64;
/** A job that begins while there is no socket waits so long for one; then nobody is there. */
const SOCKET_WAIT_MS = 5_000;
/** What is given up is taken back within this time, or left where it is. */
const TAKE_BACK_MS = 5_000;
const MIB = 1024 * 1024;

/** Why a job did not complete. */
interface Failure {
  readonly outcome: Exclude<JobObservation["outcome"], "completed">;
  readonly errorClass: string;
  readonly message: string;
  /** Nobody waits for it any more, and ComfyUI may be at it. */
  readonly mayRun?: true;
}

/** A job's POST. */
interface Submitting {
  readonly cut: AbortController;
  /** Undefined when it has come. */
  answer: Promise<SubmitOutcome> | undefined;
}

/** Of a job that never came so far. */
const NOT_STARTED = { startedAt: null, loadedAt: null, executedAt: null };

/** Opens the target's socket, and waits until it is open or `SOCKET_WAIT_MS` have passed. */
export async function openComfyuiTarget(options: ComfyuiTargetOptions): Promise<LoadTarget> {
  const target = new ComfyuiTarget(options);
  await target.untilOpen(new AbortController().signal);
  return target;
}

class ComfyuiTarget implements LoadTarget {
  readonly kind = "comfyui";
  readonly url: string;
  readonly version: string | null;
  readonly #options: ComfyuiTargetOptions;
  readonly #client: ComfyClient;
  readonly #socket: ReturnType<typeof createComfySocket>;
  readonly #prompts: ReturnType<typeof createPromptWatch>;
  readonly #loaders = new Map<string, ReadonlySet<string>>();
  readonly #waiting = new Set<() => void>();
  readonly #givenUp = new Set<string>();
  /** Submits of jobs whose time is over, still without an answer. */
  readonly #late = new Set<Promise<void>>();
  #takingBack: Promise<void> = Promise.resolve();

  constructor(options: ComfyuiTargetOptions) {
    const { clock, random } = options;
    const clientId = nextUuid(random);
    this.#options = options;
    this.url = shownUrl(options.url);
    this.version = options.version;
    this.#client = createComfyClient({
      baseUrl: options.url,
      clientId,
      clock,
      connections: CONNECTIONS,
    });
    this.#prompts = createPromptWatch(() => clock.elapsed());
    this.#socket = createComfySocket({
      baseUrl: options.url,
      clientId,
      clock,
      random,
      onEvent: (event) => {
        options.onEvent?.(event);
        this.#prompts.onEvent(event);
        if (event.kind !== "state" || event.state !== "open") return;
        for (const heard of this.#waiting) heard();
      },
      ...(options.openSocket !== undefined && { openSocket: options.openSocket }),
    });
    this.#socket.start();
  }

  async render(job: LoadJob, signal: AbortSignal): Promise<Rendered> {
    const { clock, random } = this.#options;
    const begunAt = clock.elapsed();
    const promptId = nextUuid(random);
    const time = startJobTime(job.timeoutMs, signal, clock);
    let prompt: WatchedPrompt | undefined;
    let acceptedAt: number | null = null;
    let got = { outputs: 0, bytes: 0 };
    let isGivenUp = false;
    let submitting: Submitting | undefined;
    try {
      const failure = await this.#steps(job, promptId, time, {
        posting: (begun) => {
          submitting = begun;
          return (prompt = this.#prompts.watch(promptId, this.#loadersOf(job))).ended;
        },
        accepted: () => {
          acceptedAt = clock.elapsed();
        },
        collected: (files) => {
          got = files;
        },
      });
      isGivenUp = failure?.mayRun === true;
      const { startedAt, loadedAt, executedAt } = prompt ?? NOT_STARTED;
      const times = { begunAt, acceptedAt, startedAt, loadedAt, executedAt };
      const facts = { retries: 0, changed: false, ...got, endedAt: clock.elapsed() };
      return {
        seen: {
          ...times,
          ...facts,
          outcome: failure?.outcome ?? "completed",
          errorClass: failure?.errorClass ?? null,
        },
        message: failure?.message ?? "",
      };
    } finally {
      if (isGivenUp || time.over() !== null) this.#giveUp(promptId, submitting);
      time.release();
      this.#prompts.forget(promptId);
    }
  }

  async cards(signal: AbortSignal): Promise<readonly CardReading[]> {
    const answer = await this.#client.systemStats(signal);
    if (answer.kind !== "ok") return [];
    return answer.stats.devices.flatMap(({ type, index, vramTotalBytes, vramFreeBytes }) => {
      // Of a CPU it is the host's memory.
      if (type === "cpu" || vramTotalBytes === undefined || vramFreeBytes === undefined) return [];
      const memoryUsedMb = Math.round(Math.max(0, vramTotalBytes - vramFreeBytes) / MIB);
      return [
        {
          gpu: index ?? 0,
          utilisationPercent: null,
          memoryUsedMb,
          source: "system_stats" as const,
        },
      ];
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#late);
    await this.#takingBack;
    await this.#socket.stop();
    await this.#client.close();
  }

  /** Whether the socket is open; waits for it a while where it is not. */
  async untilOpen(signal: AbortSignal): Promise<boolean> {
    if (this.#socket.state() === "open") return true;
    const heard = new AbortController();
    const onEnd = (): void => heard.abort();
    this.#waiting.add(onEnd);
    signal.addEventListener("abort", onEnd, { once: true });
    await this.#options.clock.sleep(SOCKET_WAIT_MS, heard.signal).catch(() => undefined);
    signal.removeEventListener("abort", onEnd);
    this.#waiting.delete(onEnd);
    return this.#socket.state() === "open";
  }

  async #steps(
    job: LoadJob,
    promptId: string,
    time: JobTime,
    on: {
      /** Watches it: not before there is a socket, or the end of an old one would be its end. */
      readonly posting: (submitting: Submitting) => Promise<PromptEnd>;
      readonly accepted: () => void;
      readonly collected: (files: { outputs: number; bytes: number }) => void;
    },
  ): Promise<Failure | undefined> {
    const { signal } = time;
    const client = this.#client;
    try {
      if (!(await this.untilOpen(signal))) {
        signal.throwIfAborted();
        return unreachable(`no socket to ${this.url} within ${SOCKET_WAIT_MS / 1_000} s`);
      }
      const cut = new AbortController();
      const submitting: Submitting = { cut, answer: undefined };
      const ended = on.posting(submitting);
      const posted = client.submit({ promptId, graph: job.graph }, cut.signal);
      // Not cut with the job's time: a prompt of which nobody was told would be rendered all the same.
      submitting.answer = posted;
      const submitted = await endedOrAborted(posted, signal);
      submitting.answer = undefined;
      const refused = refusalOf(submitted);
      if (refused !== undefined) return refused;
      on.accepted();
      const end = await endedOrAborted(ended, signal);
      const failed = endFailure(end);
      if (failed !== undefined) return failed;
      const history = await client.history(promptId, signal);
      if (history.kind !== "ok") return unreachable(troubleWords(history));
      if (history.entry === undefined) {
        return failure("unknown", "the history has no entry of a prompt that ended");
      }
      return await this.#collect(job, history.entry, signal, on.collected);
    } catch (error) {
      const over = time.over();
      if (over === null) throw error;
      const message = over === "timed_out" ? `not done within ${job.timeoutMs / 1_000} s` : "";
      return { outcome: over, errorClass: over === "timed_out" ? "timeout" : "cancelled", message };
    }
  }

  async #collect(
    job: LoadJob,
    entry: HistoryEntry,
    signal: AbortSignal,
    collected: (files: { outputs: number; bytes: number }) => void,
  ): Promise<Failure | undefined> {
    if (entry.status.kind === "error") {
      const { error } = entry.status;
      return ofEvidence({
        channel: "execution",
        exceptionType: error?.exceptionType ?? null,
        message: error?.exceptionMessage ?? "ComfyUI says error and nothing more",
      });
    }
    const files = Object.values(entry.outputs).flatMap((one) => collectOutputFiles(one).files);
    let bytes = 0;
    for (const file of files) {
      const fetched = await this.#fetch(job, file, signal);
      if (typeof fetched !== "number") return fetched;
      bytes += fetched;
    }
    if (files.length === 0) return failure("workflow_error", "it completed and gave no file");
    collected({ outputs: files.length, bytes });
    return undefined;
  }

  async #fetch(job: LoadJob, file: FileRef, signal: AbortSignal): Promise<number | Failure> {
    const answer = await this.#client.view(file, signal);
    if (answer.kind === "missing") {
      return failure("workflow_error", `the output ${file.filename} is not there (404)`);
    }
    if (answer.kind !== "file") return unreachable(troubleWords(answer));
    const { onFile } = this.#options;
    const kept: Uint8Array[] = [];
    let bytes = 0;
    try {
      for await (const piece of answer.body) {
        bytes += piece.length;
        if (onFile !== undefined) kept.push(piece);
      }
    } catch (error) {
      signal.throwIfAborted();
      return unreachable(`the output ${file.filename} broke off: ${String(error)}`);
    }
    onFile?.(job, Buffer.concat(kept));
    return bytes;
  }

  #loadersOf({ workflow, graph }: LoadJob): ReadonlySet<string> {
    const known = this.#loaders.get(workflow);
    if (known !== undefined) return known;
    const loaders = loaderNodes(graph);
    this.#loaders.set(workflow, loaders);
    return loaders;
  }

  /** Takes a prompt back: at once, or when ComfyUI has said that it has it. */
  #giveUp(promptId: string, submitting: Submitting | undefined): void {
    if (submitting?.answer === undefined) return this.#takeBack(promptId);
    const { answer, cut } = submitting;
    const over = new AbortController();
    this.#options.clock.sleep(TAKE_BACK_MS, over.signal).then(
      () => cut.abort(new Error("no answer in time")),
      () => undefined,
    );
    const settling: Promise<void> = answer
      .then(
        (submitted) =>
          // Versions that take no caller's id answer with their own.
          this.#takeBack(submitted.kind === "accepted" ? submitted.promptId : promptId),
        () => this.#takeBack(promptId), // Cut: it may have come through.
      )
      .finally(() => {
        over.abort();
        this.#late.delete(settling);
      });
    this.#late.add(settling);
  }

  /** All that were given up in one go are taken back with one request. */
  #takeBack(promptId: string): void {
    const isFirst = this.#givenUp.size === 0;
    this.#givenUp.add(promptId);
    if (isFirst) this.#takingBack = this.#takingBack.then(() => this.#takeAllBack());
  }

  async #takeAllBack(): Promise<void> {
    const { clock } = this.#options;
    await clock.sleep(0);
    const ids = [...this.#givenUp];
    this.#givenUp.clear();
    const late = new AbortController();
    const over = new AbortController();
    clock.sleep(TAKE_BACK_MS, over.signal).then(
      () => late.abort(),
      () => undefined,
    );
    try {
      await this.#client.deletePending(ids, late.signal);
      // Looked at afterwards: one that began in between is asked to end as well.
      const seen = await this.#client.queue(late.signal);
      const running = seen.kind === "ok" ? seen.queue.running.map(({ promptId }) => promptId) : [];
      for (const id of ids) {
        if (running.includes(id)) await this.#client.interrupt(id, late.signal);
      }
    } catch {
      // ComfyUI does not answer: what it still renders is its own matter.
    } finally {
      over.abort();
    }
  }
}

async function endedOrAborted<T>(ended: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return await new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    ended.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

function refusalOf(submitted: SubmitOutcome): Failure | undefined {
  switch (submitted.kind) {
    case "accepted": {
      const [first] = submitted.nodeErrors;
      if (first === undefined) return undefined;
      // ComfyUI runs the other outputs (F2): the job's result is not what was asked for.
      return failure("workflow_error", complaintWords(first) ?? `node ${first.nodeId} was dropped`);
    }
    case "rejected": {
      return { ...ofEvidence(rejectionEvidence(submitted.rejection)), outcome: "refused" };
    }
    case "ambiguous":
      return { ...unreachable(troubleWords(submitted.cause)), mayRun: true };
    case "not_sent":
      return unreachable(troubleWords(submitted.cause));
  }
}

/** ComfyUI says of the prompt only that it failed validation; what is wrong stands with the nodes. */
function rejectionEvidence(
  rejection: Extract<SubmitOutcome, { kind: "rejected" }>["rejection"],
): FailureEvidence {
  const message = "message" in rejection ? rejection.message : rejection.text;
  if (rejection.kind !== "invalid_graph") return { channel: "validation", message };
  const first = rejection.nodeErrors.find(({ errors }) => errors.length > 0);
  return {
    channel: "validation",
    message: (first === undefined ? undefined : complaintWords(first)) ?? message,
    validationType: first?.errors[0]?.type ?? rejection.type,
    nodeId: first?.nodeId ?? null,
    nodeType: first?.classType ?? null,
  };
}

function complaintWords({ nodeId, classType, errors }: NodeErrors): string | undefined {
  const [complaint] = errors;
  if (complaint === undefined) return undefined;
  const details = complaint.details === "" ? "" : `: ${complaint.details}`;
  return `node ${nodeId} ${classType}: ${complaint.message}${details}`;
}

function endFailure(end: PromptEnd): Failure | undefined {
  switch (end.kind) {
    case "interrupted":
      return failure("interrupted", "somebody interrupted it on ComfyUI");
    case "socket_dropped": {
      const reason = end.reason === "" ? "" : `: ${end.reason}`;
      return { ...unreachable(`the socket was dropped while it ran${reason}`), mayRun: true };
    }
    case "ended":
      if (end.error === null) return undefined;
      return ofEvidence({
        channel: "execution",
        exceptionType: end.error.exceptionType,
        message: end.error.exceptionMessage,
        nodeId: end.error.nodeId ?? null,
        nodeType: end.error.nodeType ?? null,
      });
  }
}

function ofEvidence(evidence: FailureEvidence): Failure {
  const limited = limitEvidence(evidence);
  return failure(classify(limited).class, limited.message.trim());
}

function failure(errorClass: string, message: string): Failure {
  return { outcome: "failed", errorClass, message };
}

function unreachable(message: string): Failure {
  return failure(UNREACHABLE_CLASS, message);
}

function troubleWords(trouble: ClientTrouble): string {
  switch (trouble.kind) {
    case "unreachable":
      return `${trouble.code}: ${trouble.message}`;
    case "timeout":
      return `no answer within ${trouble.afterMs / 1_000} s`;
    case "http":
      return `answered HTTP ${trouble.status}`;
    case "malformed":
      return trouble.message;
  }
}
