/**
 * A control plane for one experiment in this process: it hands runs to the agent as leases, and takes
 * their outcomes. Everything that can go wrong between a prompt and its pictures (a doubtful POST, a
 * lost socket, a stall, a ComfyUI that was started anew) is the agent's, and is written there alone.
 *
 * I1  An outcome is answered after its result is on the disk: until then ComfyUI's history keeps it,
 *     and the next process finds it there.
 */
import {
  HoldfastError,
  type AttemptReport,
  type ControlPlaneLink,
  type HeldAttempt,
  type Lease,
  type PollRequest,
  type PollResponse,
  type ReportAnswer,
} from "@holdfast/contract";
import { abortReason, type Abortable, type Clock } from "@holdfast/runtime";
import { createDeferred } from "../deferred.ts";
import type { Staging } from "./staging.ts";

/** A run as the desk hands it out. */
export type Order = Pick<
  Lease,
  "attemptId" | "executionLimitMs" | "graph" | "mode" | "promptId" | "stall"
>;

/** What came of an order. */
export type OrderEnd =
  | { readonly kind: "reported"; readonly report: AttemptReport }
  /** This host's disk takes no pictures. */
  | { readonly kind: "disk_trouble"; readonly message: string };

/** An order that was given. */
export interface GivenOrder {
  readonly end: Promise<OrderEnd>;
  /** Resolves when the agent has it. */
  readonly taken: Promise<void>;
  /** Takes it back, unless the agent has it: true when it is back. */
  withdraw(): boolean;
  /** Its result is on the disk (I1). */
  settled(): void;
}

/** The agent's side and ours. */
export interface RenderDesk {
  readonly link: ControlPlaneLink;
  order(order: Order): GivenOrder;
}

interface Ticket {
  readonly lease: Lease;
  readonly take: () => void;
  readonly finish: (end: OrderEnd) => void;
  readonly settled: Promise<void>;
}

/** Nobody else could take a lease over, so trust in it ends only with this process. */
const LEASE_TTL_MS = 24 * 3_600_000;
const RENEW_EVERY_MS = 60_000;
const POLL_WAIT_MS = 30_000;
/** A disk that takes nothing for so long ends what waits for it. */
const DISK_PATIENCE_MS = 30_000;
const MACHINE_ID = `mch_${"0".repeat(26)}`;
const INSTANCE_ID = `ins_${"0".repeat(26)}`;
const JOB_ID = `job_${"0".repeat(26)}`;

/** Makes a desk for an agent with one instance. */
export function createRenderDesk(deps: {
  readonly clock: Clock;
  readonly staging: Staging;
}): RenderDesk {
  const desk = new Desk(deps.clock, deps.staging);
  return { link: desk.link(), order: (order) => desk.order(order) };
}

class Desk {
  readonly #clock: Clock;
  readonly #staging: Staging;
  readonly #waiting: Ticket[] = [];
  readonly #leased = new Map<string, Ticket>();
  readonly #wakers = new Set<() => void>();
  #newestSequence = 0;
  #diskTroubleSince: number | undefined;

  constructor(clock: Clock, staging: Staging) {
    this.#clock = clock;
    this.#staging = staging;
  }

  order(order: Order): GivenOrder {
    const end = createDeferred<OrderEnd>();
    const settled = createDeferred<void>();
    const taken = createDeferred<void>();
    const lease: Lease = {
      ...order,
      jobId: JOB_ID,
      instanceId: INSTANCE_ID,
      leaseEpoch: 1,
      attemptNumber: 1,
      inputs: [],
      storedOutputs: [],
      before: "nothing",
      ttlMs: LEASE_TTL_MS,
    };
    const ticket: Ticket = {
      lease,
      take: () => taken.resolve(),
      finish: (how) => end.resolve(how),
      settled: settled.promise,
    };
    this.#waiting.push(ticket);
    this.#wake();
    return {
      end: end.promise,
      taken: taken.promise,
      withdraw: () => {
        const at = this.#waiting.indexOf(ticket);
        if (at >= 0) this.#waiting.splice(at, 1);
        return at >= 0;
      },
      settled: () => settled.resolve(),
    };
  }

  link(): ControlPlaneLink {
    return {
      register: async (request) => ({
        machineId: MACHINE_ID,
        session: 1,
        instances: request.instances.map(({ key }) => ({ key, instanceId: INSTANCE_ID })),
        // Prompts that are found and not ours may be another experiment's: nothing is discarded.
        leases: [],
        discard: [],
        config: {
          leaseTtlMs: LEASE_TTL_MS,
          renewEveryMs: RENEW_EVERY_MS,
          pollWaitMs: POLL_WAIT_MS,
        },
      }),
      poll: (request, signal) => this.#poll(request, signal),
      renew: async ({ held }) => ({ revoked: this.#notOurs(held) }),
      report: (request, signal) => this.#report(request.reports, signal),
      checkpoints: async () => ({ result: "recorded" }),
      putInventory: async () => undefined,
      putMachineReport: async () => undefined,
      putStartupSteps: async () => undefined,
      putBlob: async (source) => {
        await this.#stage(source);
        return { sha256: source.sha256, sizeBytes: source.sizeBytes };
      },
      getBlob: async (sha256) => {
        throw new HoldfastError("not_found", `an experiment has no input files: ${sha256}`);
      },
    };
  }

  async #poll(request: PollRequest, signal: Abortable): Promise<PollResponse> {
    this.#newestSequence = Math.max(this.#newestSequence, request.sequence);
    this.#wake();
    const endsAt = this.#clock.elapsed() + request.waitMs;
    for (;;) {
      if (signal.aborted) throw abortReason(signal);
      const revoked = this.#notOurs(request.held);
      // Capacity is that of the newest poll: an older one must not be given a run.
      const isNewest = request.sequence === this.#newestSequence;
      const leases = isNewest ? this.#take(request) : [];
      const isOver = !isNewest || this.#clock.elapsed() >= endsAt;
      if (isOver || leases.length + revoked.length > 0) {
        return { leases, revoked, renewed: true, inventoriesWanted: [], config: null };
      }
      await this.#untilWoken(endsAt - this.#clock.elapsed(), signal);
    }
  }

  #take({ instances }: PollRequest): Lease[] {
    const wanted = instances.reduce((sum, { wants }) => sum + wants, 0);
    const taken = this.#waiting.splice(0, wanted);
    for (const ticket of taken) {
      this.#leased.set(ticket.lease.attemptId, ticket);
      ticket.take();
    }
    return taken.map(({ lease }) => lease);
  }

  #notOurs(held: readonly HeldAttempt[]): { attemptId: string; reason: "lost" }[] {
    return held.flatMap(({ attemptId }) =>
      this.#leased.has(attemptId) ? [] : [{ attemptId, reason: "lost" as const }],
    );
  }

  async #report(
    reports: readonly AttemptReport[],
    signal: Abortable,
  ): Promise<{ answers: ReportAnswer[] }> {
    const tickets = reports.map(({ attemptId }) => this.#leased.get(attemptId));
    for (const [at, report] of reports.entries()) tickets[at]?.finish({ kind: "reported", report });
    await unlessAborted(signal, Promise.all(tickets.flatMap((ticket) => ticket?.settled ?? [])));
    const answers = reports.map(({ attemptId }, at): ReportAnswer => {
      this.#leased.delete(attemptId);
      const result = tickets[at] === undefined ? "lease_lost" : "recorded";
      return { attemptId, result, missing: [] };
    });
    return { answers };
  }

  async #stage(source: Parameters<ControlPlaneLink["putBlob"]>[0]): Promise<void> {
    try {
      await this.#staging.put(source);
      this.#diskTroubleSince = undefined;
    } catch (error) {
      const now = this.#clock.elapsed();
      this.#diskTroubleSince ??= now;
      if (now - this.#diskTroubleSince >= DISK_PATIENCE_MS) {
        const message = error instanceof Error ? error.message : String(error);
        for (const ticket of this.#leased.values())
          ticket.finish({ kind: "disk_trouble", message });
        this.#leased.clear();
        this.#diskTroubleSince = undefined;
        this.#wake();
      }
      throw error; // The agent tries again.
    }
  }

  #wake(): void {
    for (const wake of this.#wakers) wake();
    this.#wakers.clear();
  }

  async #untilWoken(ms: number, signal: Abortable): Promise<void> {
    const over = new AbortController();
    const end = (): void => over.abort(OVER);
    this.#wakers.add(end);
    signal.addEventListener("abort", end, { once: true });
    await this.#clock.sleep(Math.max(1, ms), over.signal).catch(() => undefined);
    this.#wakers.delete(end);
    signal.removeEventListener("abort", end);
  }
}

const OVER = new Error("the wait is over");

async function unlessAborted<T>(signal: Abortable, work: Promise<T>): Promise<T> {
  if (signal.aborted) throw abortReason(signal);
  const aborted = createDeferred<never>();
  const onAbort = (): void => aborted.reject(abortReason(signal));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
