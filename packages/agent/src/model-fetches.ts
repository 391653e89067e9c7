import type { ModelFetch, WantedModel } from "@holdfast/contract";
import { backoffMs, type Clock, type Random } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { createWaker, type Waker } from "./pause.ts";
import { cutText } from "./wire-text.ts";

/**
 * Brings models to the machine; resolves when all of them are there, rejects in words otherwise. An
 * agent names one at a time: what becomes of one says nothing of the others.
 */
export type FetchModels = (models: readonly WantedModel[], signal: AbortSignal) => Promise<void>;

/** What {@link ModelFetches} is made of. */
export interface ModelFetchesDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** Undefined: nothing is ever fetched here. */
  readonly fetch: FetchModels | undefined;
  /** Whether an instance says that it has it: until then a model that was fetched is on its way still. */
  readonly isListed: (model: WantedModel) => boolean;
  /** A model has come: what instances have is to be read again. */
  readonly onFetched: () => void;
  /** What {@link ModelFetches.states} says has changed. */
  readonly onChange: () => void;
  readonly signal: AbortSignal;
}

interface Entry {
  readonly model: WantedModel;
  state: "failed" | "fetched" | "fetching" | "waiting";
  reason: string | null;
  /** Until then it is told as being fetched though it is there: no instance has listed it. */
  arrivingUntil: number;
  failures: number;
  /** Not to be tried again before this instant. */
  notBefore: number;
}

/** A fetch that failed is tried again, as long as it is wanted. */
const BACKOFF = { initialMs: 60_000, maxMs: 600_000, factor: 2, jitter: 0.3 };
/** A model that was fetched and is wanted still is missing all the same: once more, after so long. */
const FETCHED_REST_MS = 5 * 60_000;
/** Instances list a model that was fetched within so long, or something else is wrong with it. */
const ARRIVING_MS = 3 * 60_000;
const REASON_MAX = 2_000;

/**
 * Fetches what the control plane wants of this machine. Level-triggered: told the whole list with
 * every answer, it fetches what is new in it, one model at a time, and forgets what is wanted no more.
 * What is under way then goes on to its end: bytes that are here are of use later.
 */
export class ModelFetches {
  readonly #deps: ModelFetchesDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #waker: Waker;
  #running: Promise<void> | undefined;

  constructor(deps: ModelFetchesDeps) {
    this.#deps = deps;
    this.#waker = createWaker(deps.clock);
  }

  /** All that is wanted now. Never fails. */
  want(models: readonly WantedModel[]): void {
    if (this.#deps.fetch === undefined) return;
    const named = new Set(models.map(keyOf));
    for (const [key, { state }] of this.#entries) {
      if (!named.has(key) && state !== "fetching") this.#entries.delete(key);
    }
    for (const model of models) {
      const key = keyOf(model);
      if (this.#entries.has(key)) continue;
      const fresh = { reason: null, failures: 0, notBefore: -Infinity, arrivingUntil: -Infinity };
      this.#entries.set(key, { model, state: "waiting", ...fresh });
    }
    if (this.#due().length === 0) return;
    this.#waker.wake();
    this.#deps.onChange();
    this.#running ??= this.#run();
  }

  /** For the machine's report: how it goes. What waits for its turn is being fetched, to whoever asks. */
  states(): readonly ModelFetch[] {
    const now = this.#deps.clock.elapsed();
    return [...this.#entries.values()].flatMap((entry): readonly ModelFetch[] => {
      const { model, state, reason, arrivingUntil } = entry;
      const { folder, name } = model;
      if (state === "failed") return [{ folder, name, state, reason }];
      const isOver = state === "fetched" && (now >= arrivingUntil || this.#deps.isListed(model));
      return isOver ? [] : [{ folder, name, state: "fetching", reason: null }];
    });
  }

  /** Resolves when nothing is under way; call it after the signal is aborted. */
  async stop(): Promise<void> {
    await this.#running;
  }

  #due(): Entry[] {
    const now = this.#deps.clock.elapsed();
    return [...this.#entries.values()].filter(
      ({ state, notBefore }) => state !== "fetching" && now >= notBefore,
    );
  }

  async #run(): Promise<void> {
    const { clock, fetch, signal } = this.#deps;
    for (;;) {
      const [due] = this.#due();
      if (due !== undefined && fetch !== undefined) {
        await this.#fetch(fetch, due);
        if (!signal.aborted) continue;
      }
      // What is wanted no more was removed by `want`: without any there is nothing to wait for.
      const next = Math.min(...[...this.#entries.values()].map(({ notBefore }) => notBefore));
      if (signal.aborted || next === Infinity) break;
      await this.#waker.wait(Math.min(LOOK_MS, Math.max(0, next - clock.elapsed())), signal);
    }
    this.#running = undefined;
  }

  async #fetch(fetch: FetchModels, entry: Entry): Promise<void> {
    const { clock, random, log, signal } = this.#deps;
    const { model } = entry;
    Object.assign(entry, { state: "fetching", reason: null });
    log.info({ model }, "a model is fetched that jobs wait for");
    this.#deps.onChange();
    try {
      await fetch([model], signal);
      const now = clock.elapsed();
      const until = { notBefore: now + FETCHED_REST_MS, arrivingUntil: now + ARRIVING_MS };
      Object.assign(entry, { state: "fetched", failures: 0, ...until });
      log.info({ model }, "a model was fetched");
      this.#deps.onFetched();
    } catch (err) {
      if (signal.aborted) return;
      const reason = cutText(err instanceof Error ? err.message : String(err), REASON_MAX);
      const failures = entry.failures + 1;
      const notBefore = clock.elapsed() + backoffMs(BACKOFF, failures, random);
      Object.assign(entry, { state: "failed", reason, failures, notBefore });
      log.warn({ err, model }, "a model could not be fetched, trying again later");
    }
    this.#deps.onChange();
  }
}

/** Between two looks whether what failed is wanted still. */
const LOOK_MS = 60_000;

function keyOf({ folder, name }: WantedModel): string {
  return `${folder}\n${name}`;
}
