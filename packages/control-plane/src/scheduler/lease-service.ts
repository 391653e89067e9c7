import {
  AGENT_PROTOCOL_VERSION,
  HoldfastError,
  type AgentConfig,
  type EventType,
  type InstanceReport,
  type Lease,
  type PollRequest,
  type PollResponse,
  type RegisterRequest,
  type RegisterResponse,
  type RenewRequest,
  type RenewResponse,
  type Revoked,
  type WantedModel,
} from "@holdfast/contract";
import {
  createPace,
  nextUuid,
  type Clock,
  type Failpoints,
  type IdSource,
  type Pace,
  type Random,
} from "@holdfast/runtime";
import { LOCAL_CALLER, type Caller } from "../access/model.ts";
import type { InventoryIndex } from "../machines/model.ts";
import type { MachinesService } from "../machines/service.ts";
import type { ProfilesService } from "../profiles/service.ts";
import type { Db, Queryable } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import type { ActiveRequirements } from "./active-requirements.ts";
import { createClaimsUnderWay } from "./claims-under-way.ts";
import type { JobCheckpoints } from "./checkpoint-plan.ts";
import { readCheckpoints } from "./checkpoint-store.ts";
import type { GraphCache } from "./graph-cache.ts";
import {
  busyInstances,
  createIdlePolls,
  type IdleInstance,
  type PlacedLease,
} from "./idle-polls.ts";
import { unknownTo, unleased } from "./held-and-leased.ts";
import { createHeartbeats } from "./heartbeats.ts";
import type { Heartbeat, KnownInstance } from "./heartbeat-store.ts";
import { writeInstanceReports } from "./instance-reports.ts";
import { createKnownCards } from "./known-cards.ts";
import * as store from "./lease-store.ts";
import type { AgentSession, GrantedJob, LiveLease, Placement, SchedulerSettings } from "./model.ts";
import { choosePlacements } from "./ranking.ts";
import { withCards } from "./wanted-cards.ts";
import { createMachineViews, saysTheSame, VIEW_MAX_AGE_MS } from "./machine-views.ts";
import { registerIn } from "./registration.ts";
import type { RecentEnds } from "./recent-ends.ts";
import { toLease } from "./to-lease.ts";
import { createToldModels } from "./told-models.ts";
import { idleInstances, wantingInstances } from "./wanting-instances.ts";
import type { WorkSignal } from "./work-signal.ts";

/** Queued jobs looked at for each one wanted: some are taken by others meanwhile, some avoid us. */
const HEADS_PER_WANT = 4;
const HEADS_MIN = 16;
/** Tries of one poll to claim what it sees before it goes back to waiting. */
const CLAIM_TRIES = 3;

/**
 * Least time between two claims for a machine all of whose instances that want work have some: what
 * is queued meanwhile is claimed together. An instance without work is served at once.
 */
const CLAIM_REST = { minMs: 6, maxMs: 20 };
/** Machines whose last claim is remembered; forgetting one costs a claim of its own. */
const MACHINES_REMEMBERED = 20_000;

/** Why a poll ends early: its caller is gone, or a newer one has come. */
const POLL_OVER = new Error("the poll is over");

/** What the lease service is made of. */
export interface LeaseServiceDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: IdSource;
  readonly log: Log;
  readonly failpoints: Failpoints;
  readonly settings: SchedulerSettings;
  readonly machines: MachinesService;
  readonly active: ActiveRequirements;
  readonly graphs: GraphCache;
  readonly profiles: ProfilesService;
  readonly signal: WorkSignal;
  readonly recentEnds: RecentEnds;
  /** What a machine is asked to fetch now. */
  readonly wantedModels: (machineId: string) => readonly WantedModel[];
  /** Told after commit: events of these types were written. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** Leases as agents ask for them. */
export interface LeaseService {
  /** `caller`: whose key it came with; left out by an agent of the same process. */
  register(request: RegisterRequest, caller?: Caller): Promise<RegisterResponse>;
  poll(request: PollRequest, aborted: AbortSignal): Promise<PollResponse>;
  renew(request: RenewRequest): Promise<RenewResponse>;
  /** Something has changed for a machine: its next look goes into the database. */
  forget(machineId: string): void;
}

/** Makes the lease service. */
export function createLeaseService(deps: LeaseServiceDeps): LeaseService {
  const { db, settings, machines, signal } = deps;
  const config: AgentConfig = {
    leaseTtlMs: settings.leaseTtlMs,
    renewEveryMs: settings.renewEveryMs,
    pollWaitMs: settings.pollWaitMs,
  };
  const heartbeats = createHeartbeats(deps);
  const views = createMachineViews((attemptId) => deps.recentEnds.has(attemptId));
  /** The newest poll of each machine; an older one ends when a newer arrives. */
  const newestPoll = new Map<string, PollUnderWay>();
  const idlePolls = createIdlePolls();
  const underWay = createClaimsUnderWay();

  const cards = createKnownCards(deps.profiles);
  const toLeases = async (on: Queryable, granted: readonly GrantedJob[], mode: Lease["mode"]) => {
    const ids = granted.map((job) => job.graphId);
    const templates = await deps.graphs.load(on, ids);
    // A first attempt has nothing to go on from.
    const again = granted.filter((job) => job.attemptNumber > 1 || mode === "resume");
    const saved = await checkpointsOf(on, again);
    const restartable = await restartableOf(on, machines, granted);
    const made = { templates, saved, restartable, settings, profileOf: cards.profileOf };
    return granted.map((job) => toLease(job, mode, made));
  };

  const beat = async (agent: AgentSession, held: PollRequest["held"]): Promise<Heartbeat> => {
    const found = await heartbeats.add({ agent, held });
    if (found === null) {
      throw new HoldfastError("machine_unknown", `machine ${agent.machineId} is not registered`);
    }
    // A database restored from a backup knows an older session than the agent's: register again.
    if (found.session < agent.session) {
      throw new HoldfastError("machine_unknown", `session ${agent.session} is not known here`);
    }
    if (found.session !== agent.session) {
      throw new HoldfastError(
        "agent_superseded",
        `session ${agent.session} of machine ${agent.machineId} has ended: ${found.session} has begun`,
      );
    }
    // Polls renew as well as `renew` does: whichever comes first.
    if (held.length > 0) await deps.failpoints.hit("control-plane.renewed");
    return found;
  };

  /** What the agent holds and should not. */
  const revokedOf = async (
    held: PollRequest["held"],
    leases: readonly LiveLease[],
  ): Promise<Revoked[]> => {
    const missing = unleased(held, leases).filter((id) => !deps.recentEnds.has(id));
    if (missing.length === 0) return [];
    const outcomes = await store.readOutcomes(db, missing);
    return missing.flatMap((attemptId): Revoked[] => {
      const outcome = outcomes.get(attemptId);
      // A cancel writes `interrupted` over a running attempt; whoever takes a lease over, nothing.
      if (outcome === "held") return [{ attemptId, reason: "held" }];
      if (outcome === "interrupted") return [{ attemptId, reason: "cancelled" }];
      if (outcome === undefined || outcome === "lease_lost") return [{ attemptId, reason: "lost" }];
      // Reported by its own agent, to another replica perhaps: nobody took it away.
      deps.recentEnds.add(attemptId);
      return [];
    });
  };

  /** Writes what differs from what the database has; call it after the session was checked. */
  const reportChanges = async (
    agent: AgentSession,
    reports: readonly InstanceReport[],
    known: readonly KnownInstance[],
  ): Promise<void> => {
    const byId = new Map(known.map((instance) => [instance.instanceId, instance]));
    const changed = reports.filter((report) => {
      const before = byId.get(report.instanceId);
      return before !== undefined && !saysTheSame(before, report);
    });
    if (changed.length === 0) return;
    await writeInstanceReports(deps, agent, changed, byId);
  };

  /**
   * A heartbeat; or, where nothing is new since the last one, what that one found. What the poll says
   * is written by its first look alone: later it may be older than what others have told meanwhile.
   */
  const look = async (
    request: PollRequest,
    isFirst: boolean,
  ): Promise<{
    readonly instances: readonly KnownInstance[];
    /** Undefined when no heartbeat was needed: the machine holds what it should. */
    readonly leases: readonly LiveLease[] | undefined;
    /** What it should hold, heartbeat or not. */
    readonly placed: readonly PlacedLease[];
    /** For how long the findings hold, in ms. */
    readonly holdsMs: number;
  }> => {
    const known = views.find(request, deps.clock.elapsed());
    if (known !== undefined) {
      const holdsMs = known.isInDoubt ? VIEW_MAX_AGE_MS : Infinity;
      return { ...known, leases: undefined, holdsMs };
    }
    const at = { now: deps.clock.elapsed(), version: views.version() };
    const found = await beat(request, isFirst ? request.held : []);
    const reports = isFirst ? request.instances : [];
    await reportChanges(request, reports, found.instances);
    views.noteBeat(request, found, reports, at);
    return { ...found, placed: found.leases, holdsMs: Infinity };
  };

  /** What the agent holds and should not, and what it should hold and does not name. */
  const compare = async (
    request: PollRequest,
    live: readonly LiveLease[] | undefined,
  ): Promise<{
    readonly revoked: Revoked[];
    readonly leases: Lease[];
    /** An answer may be on its way that grants it what it does not name: look again soon. */
    readonly isInDoubt: boolean;
  }> => {
    if (live === undefined) return { revoked: [], leases: [], isInDoubt: false };
    const revoked = await revokedOf(request.held, live);
    const unknown = unknownTo(request, live);
    const now = deps.clock.elapsed();
    const lost = unknown.filter(
      ({ attemptId }) => !views.isOnItsWay(request.machineId, attemptId, now),
    );
    const jobIds = lost.map((lease) => lease.jobId);
    const again = jobIds.length === 0 ? [] : await store.readGrants(db, request, jobIds);
    const leases = await toLeases(db, again, "resume");
    return { revoked, leases, isInDoubt: lost.length < unknown.length };
  };

  const toldModels = createToldModels();
  const lastServed = new Map<string, number>();
  /** The last claim of each machine: when it was, and how many such claims bring. */
  const claims = new Map<string, { at: number; readonly pace: Pace }>();
  const noteClaim = (machineId: string, count: number): void => {
    if (claims.size >= MACHINES_REMEMBERED) claims.clear();
    const claim = claims.get(machineId) ?? { at: 0, pace: createPace(CLAIM_REST) };
    claim.at = deps.clock.elapsed();
    claim.pace.note(count);
    claims.set(machineId, claim);
  };
  /** Waits until a claim for machines that are busy anyway is worth its while. */
  const restBeforeClaim = async (request: PollRequest, signal: AbortSignal): Promise<void> => {
    const last = claims.get(request.machineId);
    if (last === undefined || hasIdleInstance(request)) return;
    const restMs = last.at + last.pace.restMs() - deps.clock.elapsed();
    if (restMs > 0) await deps.clock.sleep(restMs, signal).catch(() => undefined);
  };
  const claim = async (agent: AgentSession, placements: readonly Placement[]) => {
    const end = underWay.begin(placements.map((placement) => placement.jobId));
    try {
      await deps.failpoints.hit("control-plane.before-claim");
      const grants = placements.map((placement) => ({
        ...placement,
        attemptId: deps.ids.next("att"),
        promptId: nextUuid(deps.random),
        eventId: deps.ids.next("evt"),
      }));
      return await store.claim(db, agent, settings.leaseTtlMs, grants);
    } finally {
      end();
    }
  };
  const claimFor = async (
    agent: AgentSession,
    reports: readonly InstanceReport[],
    inventories: ReadonlyMap<string, InventoryIndex>,
    busy: ReadonlySet<string>,
  ): Promise<{ leases: Lease[]; isRefused: boolean }> => {
    const leases: Lease[] = [];
    let hasTried = false;
    for (let attempt = 0; attempt < CLAIM_TRIES; attempt += 1) {
      const asOf = deps.active.version();
      const facts = { inventories, given: leases, active: deps.active, lastServed, busy };
      const wanting = wantingInstances(reports, facts);
      const ids = [...new Set(wanting.flatMap((instance) => [...instance.servable]))];
      if (ids.length === 0) break;
      const wants = wanting.reduce((sum, instance) => sum + instance.wants, 0);
      // Beyond those that others are just claiming.
      const limit = Math.max(HEADS_MIN, wants * HEADS_PER_WANT) + underWay.count();
      const instanceIds = wanting.map((instance) => instance.instanceId);
      const heads = await store.readQueueHeads(db, ids, limit, instanceIds);
      const seen = new Set(heads.map((head) => head.requirementId));
      if (heads.length < wants) {
        deps.active.drop(
          ids.filter((id) => !seen.has(id)),
          asOf,
        );
      }
      const elsewhere = idlePolls.elsewhere(agent.machineId).map(({ instanceId, inventory }) => ({
        instanceId,
        servable: { has: (id: number) => deps.active.canServe(inventory, id) },
        vramTotalBytes: inventory.vramTotalBytes,
      }));
      const free = heads.filter((head) => !underWay.has(head.jobId));
      const sized = await withCards(free, wanting, deps);
      const placements = choosePlacements(sized, wanting, elsewhere);
      if (placements.length === 0) {
        if (free.length === heads.length) break;
        // Whoever claims them may be refused: then they are ours.
        await underWay.nextEnd();
        continue;
      }
      hasTried = true;
      const granted = await claim(agent, placements);
      await deps.failpoints.hit("control-plane.claimed");
      noteClaim(agent.machineId, granted.length);
      for (const placement of placements) {
        lastServed.set(placement.instanceId, placement.requirementId);
      }
      views.noteGranted(agent.machineId, granted, deps.clock.elapsed());
      if (granted.length > 0) deps.onEvents(["attempt.started"]);
      // Session or cordon may have changed since the view was made: the next look is a heartbeat.
      else views.forget(agent.machineId);
      leases.push(...(await toLeases(db, granted, "fresh")));
      // Fewer than chosen: others were quicker. Look again while there is room.
      if (granted.length < placements.length) continue;
      // These were all: the next poll need not look for more. A job that avoids this machine's instances
      // is not among them; the loop that looks over the queue finds its requirement again.
      if (heads.length < limit && granted.length === heads.length) deps.active.drop(ids, asOf);
      break;
    }
    return { leases, isRefused: hasTried && leases.length === 0 };
  };

  return {
    async register(request, caller = LOCAL_CALLER) {
      if (request.protocolVersion !== AGENT_PROTOCOL_VERSION) {
        throw new HoldfastError(
          "version_unsupported",
          `this control plane speaks version ${AGENT_PROTOCOL_VERSION} of the agent protocol, the agent ${request.protocolVersion}: update the older one`,
        );
      }
      const answer = await db.transaction((tx) => registerIn(tx, request, caller, deps, toLeases));
      await deps.failpoints.hit("control-plane.registered");
      views.forget(answer.machineId);
      signal.wakeMachine(answer.machineId);
      deps.log.info(
        {
          machineId: answer.machineId,
          session: answer.session,
          resumed: answer.leases.length,
          discarded: answer.discard.length,
        },
        "agent registered",
      );
      return { ...answer, config };
    },

    async poll(request, aborted) {
      // By hand, not by `AbortSignal.any`: its list of followers grows with every call in Node 20.
      const over = new AbortController();
      const ended = over.signal;
      const end = (): void => over.abort(POLL_OVER);
      const own = { session: request.session, sequence: request.sequence, end };
      aborted.addEventListener("abort", end, { once: true });
      if (aborted.aborted) end();
      const other = newestPoll.get(request.machineId);
      if (other === undefined || isNewer(own, other)) {
        other?.end();
        newestPoll.set(request.machineId, own);
      } else {
        own.end(); // It was overtaken on the way here.
      }
      const deadline = deps.clock.elapsed() + Math.min(request.waitMs, settings.pollWaitMs);
      try {
        const { inventories, wanted } = await inventoriesOf(machines, request.instances);
        cards.note(request.instances, inventories);
        const waiter = {
          machineId: request.machineId,
          wants: request.instances.reduce((sum, report) => sum + report.wants, 0),
          canServe: (id: number) =>
            [...inventories.values()].some((inventory) => deps.active.canServe(inventory, id)),
        };
        const canServeOne = ({ inventory }: IdleInstance, ids: readonly number[]): boolean =>
          ids.some((id) => deps.active.canServe(inventory, id));
        // The first look renews what is held, unless nothing is new since the last renewal; later
        // looks only find orders and work.
        let renewed: boolean | undefined;
        for (;;) {
          const asOf = signal.version();
          const found = await look(request, renewed === undefined);
          renewed ??= found.leases !== undefined;
          const cordoned = new Set(
            found.instances.filter((one) => one.cordoned).map((one) => one.instanceId),
          );
          const open = request.instances.filter((report) => !cordoned.has(report.instanceId));
          const busy = busyInstances(request.held, found.placed);
          const idle = idleInstances(open, inventories, busy);
          if (newestPoll.get(request.machineId) === own) idlePolls.note(request.machineId, idle);
          const { revoked, leases, isInDoubt } = await compare(request, found.leases);
          if (leases.length === 0 && revoked.length === 0) await restBeforeClaim(request, ended);
          if (!ended.aborted && leases.length === 0 && revoked.length === 0) {
            const claimed = await claimFor(request, open, inventories, busy);
            leases.push(...claimed.leases);
            // Nothing was granted of what was there: the view may be wrong, so look for real.
            if (claimed.isRefused && found.leases === undefined) continue;
          }
          const left = deadline - deps.clock.elapsed();
          const { models, isNews } = toldModels.look(request, deps.wantedModels(request.machineId));
          const hasNews = leases.length + revoked.length + wanted.length > 0 || isNews;
          if (hasNews || left <= 0 || ended.aborted) {
            const asked = models.length > 0 && { modelsWanted: [...models] };
            return { leases, revoked, renewed, inventoriesWanted: wanted, config: null, ...asked };
          }
          if (signal.version() !== asOf) continue;
          const holdsMs = isInDoubt ? VIEW_MAX_AGE_MS : found.holdsMs;
          const countIdle = (ids: readonly number[]): number =>
            idle.filter((one) => canServeOne(one, ids)).length;
          await signal.wait({ ...waiter, countIdle }, Math.min(left, holdsMs), ended);
        }
      } finally {
        aborted.removeEventListener("abort", end);
        if (newestPoll.get(request.machineId) === own) {
          newestPoll.delete(request.machineId);
          idlePolls.note(request.machineId, []);
        }
      }
    },

    async renew(request) {
      const found = await beat(request, request.held);
      return { revoked: await revokedOf(request.held, found.leases) };
    },

    forget: (machineId) => views.forget(machineId),
  };
}

/** What is put away of jobs that run again. */
async function checkpointsOf(
  on: Queryable,
  jobs: readonly GrantedJob[],
): Promise<ReadonlyMap<string, JobCheckpoints>> {
  if (jobs.length === 0) return new Map();
  const ids = jobs.map((job) => job.jobId);
  return readCheckpoints(on, ids);
}

/** Instances that are to be started anew before one of these jobs, and can be. */
async function restartableOf(
  on: Queryable,
  machines: MachinesService,
  jobs: readonly GrantedJob[],
): Promise<ReadonlySet<string>> {
  const ids = jobs
    .filter(({ plan }) => plan?.before === "restart_instance")
    .map(({ instanceId }) => instanceId);
  return ids.length === 0 ? new Set() : machines.restartable(on, ids);
}

async function inventoriesOf(
  machines: MachinesService,
  reports: readonly InstanceReport[],
): Promise<{ inventories: Map<string, InventoryIndex>; wanted: string[] }> {
  const inventories = new Map<string, InventoryIndex>();
  const wanted: string[] = [];
  for (const digest of new Set(reports.map((report) => report.inventoryDigest))) {
    if (digest === null) continue;
    const inventory = await machines.inventory(digest);
    if (inventory === undefined) wanted.push(digest);
    else inventories.set(digest, inventory);
  }
  return { inventories, wanted };
}

/** Whether an instance wants work and has none: nothing of what is held may be its. */
function hasIdleInstance(request: PollRequest): boolean {
  const wanting = request.instances.filter((report) => report.wants > 0).length;
  const working = request.held.filter((attempt) => attempt.phase !== "collecting").length;
  return working < wanting;
}

interface PollUnderWay {
  readonly session: number;
  readonly sequence: number;
  end(): void;
}

function isNewer(own: PollUnderWay, other: PollUnderWay): boolean {
  return own.session === other.session
    ? own.sequence >= other.sequence
    : own.session > other.session;
}
