import {
  EVENT_VERSION,
  type AttemptReport,
  type CollectedOutput,
  type EventType,
  type ReportAnswer,
  type ReportRequest,
  type ReportResponse,
} from "@holdfast/contract";
import type { Graph } from "@holdfast/comfyui/protocol";
import { createRetryBudget, type Classifier } from "@holdfast/recovery";
import type { Clock, Failpoints, IdSource, Random } from "@holdfast/runtime";
import { ensureRequirement } from "../jobs/requirement-service.ts";
import { modelKey, type Needs } from "../machines/model.ts";
import type { MachinesService } from "../machines/service.ts";
import type { ProfilesService } from "../profiles/service.ts";
import type { Db, Transaction } from "../platform/db.ts";
import { isConnectionFailure } from "../platform/db-errors.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import type { ActiveRequirements } from "./active-requirements.ts";
import { blameInstance } from "./blame-service.ts";
import { cleanText } from "./clean-text.ts";
import {
  classifyOutcome,
  judgeFailure,
  wantsGraph,
  type FailureVerdict,
  type UnfinishedOutcome,
} from "./failure.ts";
import { buildGraph, type GraphCache } from "./graph-cache.ts";
import type { RecordFailure, SchedulerSettings } from "./model.ts";
import type { RecentEnds } from "./recent-ends.ts";
import { completeMany, type Completion, type ConfirmedBlob } from "./complete-store.ts";
import * as store from "./outcome-store.ts";
import { JOBS_OWN_REASONS } from "./blame-store.ts";

/** What the report service is made of. */
export interface ReportServiceDeps {
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
  readonly recentEnds: RecentEnds;
  readonly blobs: ConfirmedBlobs;
  readonly profiles: Pick<ProfilesService, "noteRuns">;
  /** Says what a failure is: built-in rules and the operators' patterns. */
  readonly classify: Classifier;
  readonly recordFailure: RecordFailure;
  /** Needs of a requirement, for "could somebody else serve it?". */
  readonly needsOf: (requirementId: number) => Promise<Needs>;
  /** Told after commit: a job was queued again under this requirement. */
  readonly onQueued: (requirementId: number) => void;
  /** Told after commit: events of these types were written. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** Bytes that this process stored a moment ago: their rows may be written with what names them. */
export interface ConfirmedBlobs {
  /** Those of these blobs whose rows are still to be written. */
  unregistered(sha256s: readonly string[]): readonly ConfirmedBlob[];
  /** Their rows were written: nobody else need do it. */
  noteRegistered(blobs: readonly ConfirmedBlob[]): void;
  /** Resolves when the rows of these are written. */
  register(sha256s: readonly string[]): Promise<void>;
}

/** Ends of attempts, as agents report them and as the reaper finds them. */
export interface ReportService {
  report(request: ReportRequest): Promise<ReportResponse>;
  /** Ends an attempt whose lease ran out; false when it had not (any more). */
  expire(lease: store.ExpiredLease): Promise<boolean>;
}

/** Reports settled at the same time: each may hold a connection of the pool, and others need some. */
const REPORTS_AT_ONCE = 4;

/** Makes the report service. */
export function createReportService(deps: ReportServiceDeps): ReportService {
  const { db } = deps;
  const budget = createRetryBudget(deps.clock);

  const settleFailure = async (
    ended: store.EndedAttempt,
    outcome: UnfinishedOutcome,
    outputs: readonly store.OutputRow[],
    mayEnd: (tx: Transaction) => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<boolean> => {
    // Before the transaction: inside it, a second connection would be waited for with one in hand.
    const servers = await deps.machines.servers();
    const requirementId = await store.readRequirementOf(db, ended.jobId);
    const needs = requirementId === null ? NO_NEEDS : await deps.needsOf(requirementId);
    const classified = classifyOutcome(outcome, deps.classify);
    const isGraphWanted = wantsGraph(outcome, classified);
    const isModelFetchable =
      classified?.class === "model_missing" && (await isOffered(deps, outcome, needs));
    const settled = await db.transaction(async (tx) => {
      const facts = await store.lockForFailure(tx, ended.jobId, ended.leaseEpoch);
      if (facts === null || !(await mayEnd(tx))) return null;
      const verdict = judgeFailure(
        {
          outcome,
          classified,
          started: ended.started,
          executeMs: ended.executeMs,
          facts,
          earlier: await store.readEarlierEnds(tx, ended.jobId, facts.round),
          servers,
          needs,
          isModelFetchable,
          budgetDelayMs: budget.delayMs(servers.instances.length),
          graph: isGraphWanted ? await readOwnGraph(deps.graphs, tx, facts) : null,
          maxRetryAttempts: deps.settings.maxRetryAttempts,
          recoveryEnabled: deps.settings.recoveryEnabled,
          fallbackModels: deps.settings.fallbackModels,
        },
        deps.random,
      );
      await store.keepOutputs(tx, ended.jobId, ended.attemptId, facts.lineage, outputs);
      await store.endAttempt(tx, ended, {
        outcome: verdict.attemptOutcome,
        error: verdict.error,
        evidence: verdict.evidence,
        decision: {
          action: verdict.decision.kind,
          rule: verdict.decision.reason,
          reason: verdict.decision.explain,
          delayMs: verdict.decision.kind === "retry" ? verdict.decision.delayMs : null,
          rung: verdict.decision.kind === "retry" ? verdict.decision.rung : null,
        },
      });
      const next = verdict.change.needs;
      const waitsUnder = next === null ? null : await ensureRequirement(tx, next.next);
      await recordFailure(deps, tx, { ended, outcome, facts, verdict });
      await store.changeJob(tx, ended.jobId, ended.leaseEpoch, verdict.change, waitsUnder);
      const events = eventsOf(deps.ids, ended, facts, verdict);
      await appendEvents(tx, events);
      const queuedUnder = waitsUnder ?? facts.requirementId;
      return { facts, verdict, queuedUnder, written: events.map((event) => event.type) };
    });
    if (settled === null) return false;
    const { decision } = settled.verdict;
    if (decision.kind === "retry" && !decision.isFree) budget.spend(servers.instances.length);
    logVerdict(deps.log, ended, settled.facts, settled.verdict);
    if (settled.verdict.change.state === "queued") deps.onQueued(settled.queuedUnder);
    deps.onEvents(settled.written);
    const { classified: error } = settled.verdict;
    // What was only staged when its instance died says nothing; a refusal before the start does.
    if (error !== null && (ended.started || outcome.kind === "failed")) {
      const { instanceId } = settled.facts;
      const others = servers.serving(needs).filter(({ id }) => id !== instanceId);
      const machineId = servers.machineOf(instanceId);
      await blameInstance(deps, {
        instanceId,
        error,
        isJobsFault: isJobsFault(settled.verdict, needs),
        hasOther: others.length > 0,
        hasOtherMachine: others.some((other) => other.machineId !== machineId),
      });
    }
    return true;
  };

  const toCompletion = (report: AttemptReport): Completion => ({
    ended: toEnded(report),
    eventId: deps.ids.next("evt"),
    outputs: outputsOf(report).map((output) => ({ id: deps.ids.next("out"), ...output })),
  });

  /** Writes what is a plain success; returns the attempts for which that was all. */
  const complete = async (reports: readonly AttemptReport[]): Promise<ReadonlySet<string>> => {
    if (reports.length === 0) return new Set();
    const completions = reports.map(toCompletion);
    const confirmed = deps.blobs.unregistered(
      completions.flatMap(({ outputs }) => outputs.map((output) => output.sha256)),
    );
    await deps.failpoints.hit("control-plane.before-complete");
    const done = await completeMany(db, completions, confirmed);
    deps.blobs.noteRegistered(confirmed);
    await deps.failpoints.hit("control-plane.completed");
    budget.earn(done.size);
    if (done.size > 0) deps.onEvents(["job.completed"]);
    deps.profiles.noteRuns(reports.filter(({ attemptId }) => done.has(attemptId)));
    for (const { ended, outputs } of completions) {
      const { jobId, attemptId } = ended;
      if (!done.has(attemptId)) continue;
      deps.log.info({ jobId, attemptId, outputs: outputs.length }, "job completed");
    }
    return done;
  };

  /** A report that is no plain success: looked at by itself. */
  const settle = async (report: AttemptReport): Promise<ReportAnswer> => {
    const answer = (result: ReportAnswer["result"], missing: string[] = []): ReportAnswer => ({
      attemptId: report.attemptId,
      result,
      missing,
    });
    const collected = outputsOf(report);
    const hashes = collected.map((output) => output.sha256);
    await deps.blobs.register(hashes);
    const facts = await store.readReportFacts(db, report.jobId, report.attemptId, hashes);
    if (facts === null) return answer("lease_lost");
    // The same report again: its answer was lost. An attempt ends once.
    if (facts.attemptOutcome !== null) {
      const isSame =
        facts.attemptOutcome === report.outcome.kind && facts.jobEpoch <= report.leaseEpoch + 1;
      return answer(isSame ? "recorded" : "lease_lost");
    }
    if (facts.jobEpoch !== report.leaseEpoch || facts.jobState !== "processing") {
      return answer("lease_lost");
    }
    if (facts.missingBlobs.length > 0 && report.outcome.kind === "succeeded") {
      return answer("outputs_missing", [...new Set(facts.missingBlobs)]);
    }
    const ended = toEnded(report);
    const outputs = collected.map((output) => ({ id: deps.ids.next("out"), ...output }));
    if (report.outcome.kind !== "succeeded") {
      const done = await settleFailure(ended, report.outcome, outputs);
      return answer(done ? "recorded" : "lease_lost");
    }
    const missing = missingPromises(facts, outputs);
    if (missing.length > 0) {
      const done = await settleFailure(ended, lostOutputs(missing), outputs);
      return answer(done ? "recorded" : "lease_lost");
    }
    // What kept it from being a plain success is over: bytes that came, or a row that was locked.
    const done = await complete([report]);
    return answer(done.has(report.attemptId) ? "recorded" : "lease_lost");
  };

  /** All plain successes at once; when that fails each is looked at by itself, to fail alone. */
  const completePlain = async (reports: readonly AttemptReport[]): Promise<ReadonlySet<string>> => {
    try {
      return await complete(reports.filter((report) => report.outcome.kind === "succeeded"));
    } catch (error) {
      if (isConnectionFailure(error) || reports.length === 1) throw error;
      deps.log.warn({ err: error, reports: reports.length }, "reports are settled one by one");
      return new Set();
    }
  };

  return {
    async report(request) {
      await deps.failpoints.hit("control-plane.report-received");
      const reports = request.reports.map((report) => cleanText(report));
      const completed = await completePlain(reports);
      const answers = new Map<string, ReportAnswer>();
      const others = reports.filter(({ attemptId }) => !completed.has(attemptId));
      for (let at = 0; at < others.length; at += REPORTS_AT_ONCE) {
        const some = others.slice(at, at + REPORTS_AT_ONCE);
        for (const answer of await Promise.all(some.map(settle))) {
          answers.set(answer.attemptId, answer);
        }
      }
      for (const attemptId of completed) {
        answers.set(attemptId, { attemptId, result: "recorded", missing: [] });
      }
      for (const { attemptId, result } of answers.values()) {
        if (result === "recorded") deps.recentEnds.add(attemptId);
      }
      return {
        answers: reports.flatMap(({ attemptId }) => answers.get(attemptId) ?? []),
      };
    },
    expire: (lease) => {
      const ended: store.EndedAttempt = {
        jobId: lease.jobId,
        attemptId: lease.attemptId,
        leaseEpoch: lease.leaseEpoch,
        started: lease.phase !== "staged",
        executeMs: 0,
        timings: {},
      };
      return settleFailure(
        ended,
        { kind: "lease_lost", machineLost: lease.machineLost },
        [],
        (tx) => store.isLeaseExpired(tx, lease.jobId, 2 * deps.settings.leaseTtlMs),
      );
    },
  };
}

function outputsOf(report: AttemptReport): readonly CollectedOutput[] {
  return "outputs" in report.outcome ? (report.outcome.outputs ?? []) : [];
}

function toEnded(report: AttemptReport): store.EndedAttempt {
  return {
    jobId: report.jobId,
    attemptId: report.attemptId,
    leaseEpoch: report.leaseEpoch,
    started: report.started,
    executeMs: Math.max(0, report.timings["executeMs"] ?? 0),
    timings: report.timings,
  };
}

/** Promised nodes that gave nothing, neither now nor to an earlier attempt of the lineage (P3). */
function missingPromises(
  facts: store.ReportFacts,
  outputs: readonly store.OutputRow[],
): readonly string[] {
  const given = new Set([...outputs.map((output) => output.nodeId), ...facts.storedNodes]);
  return facts.promisedNodes.filter((nodeId) => !given.has(nodeId));
}

function lostOutputs(nodeIds: readonly string[]): UnfinishedOutcome {
  return {
    kind: "failed",
    evidence: {
      channel: "collection",
      message: `ComfyUI reported success, but the promised outputs of node ${nodeIds.join(", ")} are not there`,
      nodeId: nodeIds[0] ?? null,
    },
    outputs: [],
  };
}

/**
 * Whether a failure says nothing of its instance: every other would say the same, the job's own time was
 * over, or a model is missing that nobody promised to have.
 */
function isJobsFault({ decision, classified, evidence }: FailureVerdict, needs: Needs): boolean {
  if (JOBS_OWN_REASONS.has(decision.reason)) return true;
  if (classified?.class !== "model_missing") return false;
  const message = evidence?.message ?? "";
  return !needs.models.some(({ name }) => message.includes(name));
}

/** Whether a machine offers to fetch what an end says is missing. */
async function isOffered(
  { machines }: ReportServiceDeps,
  outcome: UnfinishedOutcome,
  needs: Needs,
): Promise<boolean> {
  const message = "evidence" in outcome ? outcome.evidence.message : "";
  const missing = needs.models.filter(({ name }) => message.includes(name));
  if (missing.length === 0) return false;
  const offers = await machines.offers(missing.map(({ name }) => name));
  const offered = new Set(
    offers.flatMap(({ models }) => models.map(({ folder, name }) => modelKey(folder, name))),
  );
  return missing.every(({ folder, name }) => offered.has(modelKey(folder, name)));
}

const NO_NEEDS: Needs = { nodeClasses: [], models: [] };

/** The graph as its caller submitted it: no plan of recovery in it. */
async function readOwnGraph(
  graphs: GraphCache,
  tx: Transaction,
  { graphId, patch }: store.FailureFacts,
): Promise<Graph> {
  return buildGraph(await graphs.load(tx, [graphId]), graphId, [patch]);
}

/** What was staged and never ran did not fail by itself: its instance did. */
async function recordFailure(
  deps: ReportServiceDeps,
  tx: Transaction,
  of: {
    readonly ended: store.EndedAttempt;
    readonly outcome: UnfinishedOutcome;
    readonly facts: store.FailureFacts;
    readonly verdict: FailureVerdict;
  },
): Promise<void> {
  const { ended, outcome, facts, verdict } = of;
  const { error, decision } = verdict;
  if (error === null || (outcome.kind !== "failed" && !ended.started)) return;
  await deps.recordFailure(tx, {
    attemptId: ended.attemptId,
    jobId: ended.jobId,
    owner: facts.owner,
    class: error.customType ?? error.class,
    strategy: error.strategy,
    rung: decision.kind === "retry" ? (decision.rung ?? decision.reason) : decision.reason,
    nodeType: error.nodeType,
  });
}

function eventsOf(
  ids: IdSource,
  ended: store.EndedAttempt,
  facts: store.FailureFacts,
  verdict: FailureVerdict,
) {
  const job = { jobId: ended.jobId, number: facts.number, batchId: facts.batchId };
  const event = (type: EventType, payload: object) => ({
    id: ids.next("evt"),
    type,
    version: EVENT_VERSION,
    owner: facts.owner,
    jobId: ended.jobId,
    payload,
  });
  const { decision, change } = verdict;
  const events = [
    event("attempt.failed", {
      ...job,
      attemptId: ended.attemptId,
      attempt: facts.attemptNumber,
      instanceId: facts.instanceId,
      outcome: verdict.attemptOutcome,
      error: verdict.error,
      decision: decision.kind,
      reason: decision.explain,
      delayMs: decision.kind === "retry" ? decision.delayMs : null,
    }),
  ];
  if (verdict.graphChange !== null) {
    const { rung, loss, explain } = verdict.graphChange;
    events.push(event("job.changed", { ...job, rung, loss, explain }));
  }
  if (change.state === "failed") {
    events.push(event("job.failed", { ...job, error: change.error, poison: change.poison }));
  } else if (change.state === "timeout") {
    events.push(event("job.timeout", { ...job, error: change.error }));
  }
  return events;
}

function logVerdict(
  log: Log,
  ended: store.EndedAttempt,
  facts: store.FailureFacts,
  verdict: FailureVerdict,
): void {
  const fields = {
    jobId: ended.jobId,
    attemptId: ended.attemptId,
    attempt: facts.attemptNumber,
    leaseEpoch: ended.leaseEpoch,
    instanceId: facts.instanceId,
    outcome: verdict.attemptOutcome,
    class: verdict.error?.class ?? null,
    reason: verdict.decision.reason,
  };
  if (verdict.decision.kind === "retry") log.warn(fields, "attempt ended, job goes on");
  else if (verdict.decision.kind === "poison") log.error(fields, "job set aside as poison");
  else log.warn(fields, "job failed");
}
