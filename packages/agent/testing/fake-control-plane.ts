import { createHash } from "node:crypto";
import {
  HoldfastError,
  type AttemptReport,
  type CheckpointRequest,
  type ControlPlaneLink,
  type HeldAttempt,
  type InventoryUpload,
  type Lease,
  type MachineReportRequest,
  type PollRequest,
  type RegisterRequest,
  type Revoked,
  type StartupStepsRequest,
  type WantedModel,
} from "@holdfast/contract";
import {
  createIdSource,
  nextUuid,
  seededRandom,
  type Abortable,
  type Clock,
} from "@holdfast/runtime";

/** What a test asks for; the rest of the lease is filled in. */
export type JobRequest = Partial<Omit<Lease, "graph">> & { readonly graph: Lease["graph"] };

/** What does not answer. */
export type Outage = "all" | "machine" | "none" | "reports" | "store";

/** A control plane in memory, behind the agent's port: leases, blobs, reports, outages. */
export interface FakeControlPlane {
  readonly link: ControlPlaneLink;
  readonly reports: readonly AttemptReport[];
  /** Reports of attempts whose lease was gone. */
  readonly lateReports: readonly AttemptReport[];
  /** What attempts told of checkpoints, in order. */
  readonly checkpoints: readonly CheckpointRequest[];
  readonly blobs: ReadonlyMap<string, Uint8Array>;
  readonly registrations: readonly RegisterRequest[];
  readonly polls: readonly PollRequest[];
  readonly inventories: ReadonlyMap<string, InventoryUpload>;
  readonly counts: { polls: number; renews: number; reports: number };
  readonly machineReports: readonly MachineReportRequest[];
  readonly startupSteps: readonly StartupStepsRequest[];
  /** What the machine is asked to fetch, in every answer to a poll from now on. */
  want(models: readonly WantedModel[]): void;
  /** Queues a job; its lease goes to the next instance that wants one. */
  submit(request: JobRequest): Promise<Lease>;
  putFile(bytes: Uint8Array): string;
  /** The report of an attempt, when it comes. */
  reported(attemptId: string): Promise<AttemptReport>;
  /** Everything refuses to answer, or only the store or the reports do. */
  outage(what: Outage): void;
  /** Takes a lease away; the agent hears of it at its next call. */
  revoke(attemptId: string, reason: Revoked["reason"]): void;
  /** Forgets the machine: the next call is answered `machine_unknown`. */
  forgetMachine(): void;
  /** A newer session begins, and nobody hears of it: the next call is answered `agent_superseded`. */
  beginSession(): void;
  /** Resolves when the condition holds; it is looked at after every call. */
  until(condition: () => boolean): Promise<void>;
  /** What the agent said it holds, last. */
  held(): readonly HeldAttempt[];
}

/** Makes a control plane that grants leases of `ttlMs`. */
export function createFakeControlPlane(
  clock: Clock,
  options: { readonly ttlMs?: number; readonly renewEveryMs?: number } = {},
): FakeControlPlane {
  const random = seededRandom(7);
  const ids = createIdSource(clock, random);
  const ttlMs = options.ttlMs ?? 30_000;
  const config = {
    leaseTtlMs: ttlMs,
    renewEveryMs: options.renewEveryMs ?? 1_000,
    pollWaitMs: 5_000,
  };
  const queued: { lease: Lease; granted: (lease: Lease) => void }[] = [];
  const leases = new Map<string, Lease>();
  const revoked = new Map<string, Revoked["reason"]>();
  const reports: AttemptReport[] = [];
  const lateReports: AttemptReport[] = [];
  const checkpoints: CheckpointRequest[] = [];
  const registrations: RegisterRequest[] = [];
  const polls: PollRequest[] = [];
  const inventories = new Map<string, InventoryUpload>();
  const machineReports: MachineReportRequest[] = [];
  const startupSteps: StartupStepsRequest[] = [];
  const blobs = new Map<string, Uint8Array>();
  let wantedModels: readonly WantedModel[] = [];
  let toldModels: readonly WantedModel[] = [];
  const counts = { polls: 0, renews: 0, reports: 0 };
  const watchers = new Set<() => void>();
  const instanceIds = new Map<string, string>();
  let machineId: string | undefined;
  let session = 0;
  let isKnown = false;
  let outage: Outage = "none";
  let newestSequence = 0;
  let lastHeld: readonly HeldAttempt[] = [];

  const changed = (): void => {
    for (const watcher of watchers) watcher();
  };
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        watchers.delete(look);
        resolve();
      };
      watchers.add(look);
      look();
    });
  const check = (call?: { machineId: string; session: number }): void => {
    if (outage === "all") throw new Error("connection refused");
    if (call === undefined) return;
    if (!isKnown || call.machineId !== machineId) throw new HoldfastError("machine_unknown", "?");
    if (call.session !== session) throw new HoldfastError("agent_superseded", "newer");
  };
  const ordersFor = (held: readonly HeldAttempt[]): Revoked[] =>
    held.flatMap(({ attemptId }) => {
      const reason = revoked.get(attemptId);
      if (reason !== undefined) return [{ attemptId, reason }];
      return leases.has(attemptId) ? [] : [{ attemptId, reason: "lost" as const }];
    });
  const claim = (request: PollRequest): Lease[] => {
    const given: Lease[] = [];
    for (const instance of request.instances) {
      for (let n = 0; n < instance.wants && queued.length > 0; n += 1) {
        const next = queued.shift();
        if (next === undefined) break;
        const lease = { ...next.lease, instanceId: instance.instanceId };
        leases.set(lease.attemptId, lease);
        next.granted(lease);
        given.push(lease);
      }
    }
    return given;
  };

  const link: ControlPlaneLink = {
    register: async (request) => {
      check();
      registrations.push(request);
      machineId ??= request.machineId ?? ids.next("mch");
      isKnown = true;
      session += 1;
      for (const { key } of request.instances) {
        if (!instanceIds.has(key)) instanceIds.set(key, ids.next("ins"));
      }
      const resumed = [...leases.values()].map((lease) => ({ ...lease, mode: "resume" as const }));
      const known = new Set(resumed.map((lease) => lease.promptId));
      changed();
      return {
        machineId,
        session,
        instances: [...instanceIds].map(([key, instanceId]) => ({ key, instanceId })),
        leases: resumed,
        discard: request.instances.flatMap(({ key, foundPrompts }) =>
          foundPrompts.filter((id) => !known.has(id)).map((promptId) => ({ key, promptId })),
        ),
        config,
      };
    },
    poll: async (request, signal) => {
      check(request);
      counts.polls += 1;
      polls.push(request);
      newestSequence = request.sequence;
      lastHeld = request.held;
      changed();
      const endsAt = clock.elapsed() + request.waitMs;
      for (;;) {
        const orders = ordersFor(request.held);
        const names = new Set(request.held.map((attempt) => attempt.attemptId));
        const unknown = [...leases.values()].filter(
          (lease) => !names.has(lease.attemptId) && !revoked.has(lease.attemptId),
        );
        const again = unknown.map((lease) => ({ ...lease, mode: "resume" as const }));
        const isNewest = newestSequence === request.sequence;
        const given = isNewest ? claim(request) : [];
        const wanted = request.instances.flatMap(({ inventoryDigest }) =>
          inventoryDigest === null || inventories.has(inventoryDigest) ? [] : [inventoryDigest],
        );
        const isAsked = wantedModels !== toldModels;
        toldModels = wantedModels;
        const news = orders.length + given.length + again.length + wanted.length > 0 || isAsked;
        if (news || !isNewest || clock.elapsed() >= endsAt) {
          const leases = [...again, ...given];
          return {
            leases,
            revoked: orders,
            renewed: true,
            inventoriesWanted: wanted,
            config: null,
            ...(wantedModels.length > 0 && { modelsWanted: [...wantedModels] }),
          };
        }
        await new Promise<void>((resolve, reject) => {
          const done = (): void => {
            watchers.delete(done);
            signal.removeEventListener("abort", onAbort);
            resolve();
          };
          const onAbort = (): void => {
            watchers.delete(done);
            reject(signal.reason);
          };
          watchers.add(done);
          signal.addEventListener("abort", onAbort, { once: true });
        });
        check(request);
      }
    },
    renew: async (request) => {
      check(request);
      counts.renews += 1;
      lastHeld = request.held;
      changed();
      return { revoked: ordersFor(request.held) };
    },
    report: async (request) => {
      check(request);
      if (outage === "reports") throw new Error("connection reset");
      counts.reports += 1;
      const answers = request.reports.map((report) => {
        const { attemptId } = report;
        const lease = leases.get(attemptId);
        const base = { attemptId, missing: [] };
        if (lease?.leaseEpoch !== report.leaseEpoch) {
          lateReports.push(report);
          const isRepeat = reports.some((r) => r.attemptId === attemptId);
          return { ...base, result: isRepeat ? ("recorded" as const) : ("lease_lost" as const) };
        }
        const missing = (report.outcome.kind === "succeeded" ? report.outcome.outputs : []).flatMap(
          (o) => (blobs.has(o.sha256) ? [] : [o.sha256]),
        );
        if (missing.length > 0) return { ...base, missing, result: "outputs_missing" as const };
        reports.push(report);
        leases.delete(attemptId);
        return { ...base, result: "recorded" as const };
      });
      changed();
      return { answers };
    },
    checkpoints: async (request) => {
      check(request);
      if (leases.get(request.attemptId)?.leaseEpoch !== request.leaseEpoch) {
        return { result: "lease_lost" };
      }
      checkpoints.push(request);
      changed();
      return { result: "recorded" };
    },
    putInventory: async (upload) => {
      check();
      inventories.set(upload.inventory.digest, upload);
      changed();
    },
    putMachineReport: async (request) => {
      check(request);
      if (outage === "machine") throw new Error("connection reset");
      machineReports.push(request);
      changed();
    },
    putStartupSteps: async (request) => {
      check(request);
      if (outage === "machine") throw new Error("connection reset");
      startupSteps.push(request);
      changed();
    },
    putBlob: async (source) => {
      check();
      if (outage === "store") throw new HoldfastError("store_unavailable", "the store is down");
      const pieces: Uint8Array[] = [];
      for await (const piece of source.open()) pieces.push(piece);
      const bytes = Buffer.concat(pieces);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      if (sha256 !== source.sha256 || bytes.length !== source.sizeBytes) {
        throw new HoldfastError("checksum_mismatch", "other bytes than announced");
      }
      blobs.set(sha256, bytes);
      changed();
      return { sha256, sizeBytes: bytes.length };
    },
    getBlob: async (sha256) => {
      check();
      const bytes = blobs.get(sha256);
      if (bytes === undefined) throw new HoldfastError("not_found", `no blob ${sha256}`);
      return (async function* () {
        yield bytes;
      })();
    },
  };

  return {
    link,
    reports,
    lateReports,
    checkpoints,
    blobs,
    registrations,
    polls,
    inventories,
    machineReports,
    startupSteps,
    want: (models) => {
      wantedModels = models;
      changed();
    },
    counts,
    submit: (request) =>
      new Promise((granted) => {
        const lease: Lease = {
          attemptId: ids.next("att"),
          jobId: ids.next("job"),
          instanceId: "",
          leaseEpoch: 1,
          mode: "fresh",
          promptId: nextUuid(random),
          attemptNumber: 1,
          inputs: [],
          storedOutputs: [],
          before: "nothing",
          executionLimitMs: 600_000,
          stall: { progressMs: 120_000, firstLoadMs: 300_000 },
          ttlMs,
          ...request,
        };
        queued.push({ lease, granted });
        changed();
      }),
    putFile: (bytes) => {
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      blobs.set(sha256, bytes);
      return sha256;
    },
    reported: async (attemptId) => {
      const find = () => reports.find((report) => report.attemptId === attemptId);
      await until(() => find() !== undefined);
      return find() as AttemptReport;
    },
    outage: (what) => {
      outage = what;
      changed();
    },
    revoke: (attemptId, reason) => {
      revoked.set(attemptId, reason);
      leases.delete(attemptId);
      changed();
    },
    forgetMachine: () => {
      isKnown = false;
      changed();
    },
    beginSession: () => {
      session += 1;
      changed();
    },
    until,
    held: () => lastHeld,
  };
}

/** A signal that is never aborted. */
export const NEVER: Abortable = new AbortController().signal;
