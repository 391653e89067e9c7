import { backoffMs, type Clock, type Random } from "@holdfast/runtime";
import type { Log } from "../platform/log.ts";
import type { BlobStore, ProbeResult, StoreUnavailable } from "./model.ts";

/** A store that answers at once while the one behind it is down. */
export interface CircuitStore extends BlobStore {
  /** What is known of the store now, without asking it; undefined while it is taken to work. */
  knownFailure(): StoreUnavailable | undefined;
}

/** How to make a {@link CircuitStore}. */
export interface CircuitStoreOptions {
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const PROBE_BACKOFF = { initialMs: 500, factor: 2, maxMs: 15_000, jitter: 0.3 };

/**
 * Puts a breaker in front of a store. After a failure everybody is told at once that it is
 * unavailable, until a pause is over; then one probe, not a caller's bytes, finds out whether it is
 * back. The pause grows with each failed probe.
 */
export function createCircuitStore(options: CircuitStoreOptions): CircuitStore {
  const { store, clock, log } = options;
  let failure: StoreUnavailable | undefined;
  let failures = 0;
  let probeAt = 0;
  let probing: Promise<ProbeResult> | undefined;

  const note = <T extends { readonly kind: string }>(result: T | StoreUnavailable): T => {
    if (result.kind === "unavailable") {
      const down = result as StoreUnavailable;
      failures += 1;
      probeAt = clock.elapsed() + backoffMs(PROBE_BACKOFF, failures, options.random);
      const { reason } = down;
      if (failure === undefined) log.error({ reason, err: down.cause }, "file store is down");
      failure = down;
    } else if (failure !== undefined) {
      log.info({ failures }, "file store is back");
      failure = undefined;
      failures = 0;
    }
    return result as T;
  };

  const probe = (): Promise<ProbeResult> =>
    (probing ??= store
      .probe()
      .then((result) => note<ProbeResult>(result))
      .finally(() => {
        probing = undefined;
      }));

  /** Undefined when the store may be asked. */
  const stopped = async (): Promise<StoreUnavailable | undefined> => {
    if (failure === undefined) return undefined;
    if (clock.elapsed() >= probeAt) {
      const result = await probe();
      if (result.kind === "ready") return undefined;
    }
    return failure;
  };

  return {
    description: store.description,
    knownFailure: () => failure,
    put: async (blob) => (await stopped()) ?? note(await store.put(blob)),
    open: async (sha256, range) => (await stopped()) ?? note(await store.open(sha256, range)),
    has: async (sha256) => (await stopped()) ?? note(await store.has(sha256)),
    remove: async (sha256) => (await stopped()) ?? note(await store.remove(sha256)),
    probe: async () => (await stopped()) ?? (await probe()),
    close: () => store.close(),
  };
}
