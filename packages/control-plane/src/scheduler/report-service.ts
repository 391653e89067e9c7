import {
  EVENT_VERSION,
  type AttemptReport,
  type CollectedOutput,
  type EventType,
  type ReportAnswer,
  type ReportRequest,
  type ReportResponse,
} from "@holdfast/contract";
import type { Failpoints, IdSource, Random } from "@holdfast/runtime";
import type { MachinesService } from "../machines/service.ts";
import type { Db, Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import { thoseThatCanServe, type ActiveRequirements } from "./active-requirements.ts";
import { cleanText } from "./clean-text.ts";
import { judgeFailure, type FailureVerdict, type UnfinishedOutcome } from "./failure.ts";
import type { SchedulerSettings } from "./model.ts";
import type { RecentEnds } from "./recent-ends.ts";
import * as store from "./outcome-store.ts";
import type { InventoryIndex, Needs } from "../machines/model.ts";

/** What the report service is made of. */
export interface ReportServiceDeps {
  readonly db: Db;
  readonly random: Random;
  readonly ids: IdSource;
  readonly log: Log;
  readonly failpoints: Failpoints;
  readonly settings: SchedulerSettings;
  readonly machines: MachinesService;
  readonly active: ActiveRequirements;
  readonly recentEnds: RecentEnds;
  /** Needs of a requirement, for "could somebody else serve it?". */
  readonly needsOf: (requirementId: number) => Promise<Needs>;
  /** Told after commit: a job was queued again under this requirement. */
  readonly onQueued: (requirementId: number) => void;
  /** Told after commit: events were written. */
  readonly onEvents: () => void;
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

  const settleFailure = async (
    ended: store.EndedAttempt,
    outcome: UnfinishedOutcome,
    outputs: readonly store.OutputRow[],
    mayEnd: (tx: Transaction) => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<boolean> => {
    // Before the transaction: inside it, a second connection would be waited for with one in hand.
    const servers = await instancesThatCanServe(deps, ended.jobId);
    const settled = await db.transaction(async (tx) => {
      const facts = await store.lockForFailure(tx, ended.jobId, ended.leaseEpoch);
      if (facts === null || !(await mayEnd(tx))) return null;
      const verdict = judgeFailure(
        {
          outcome,
          started: ended.started,
          executeMs: ended.executeMs,
          facts,
          earlier: await store.readEarlierEnds(tx, ended.jobId, facts.round),
          otherInstancesCanServe: servers.some(
            (id) => id !== facts.instanceId && !facts.avoidInstances.includes(id),
          ),
          maxRetryAttempts: deps.settings.maxRetryAttempts,
          recoveryEnabled: deps.settings.recoveryEnabled,
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
          reason: verdict.decision.explain,
          delayMs: verdict.decision.kind === "retry" ? verdict.decision.delayMs : null,
        },
      });
      await store.changeJob(tx, ended.jobId, ended.leaseEpoch, verdict.change);
      await appendEvents(tx, eventsOf(deps.ids, ended, facts, verdict));
      return { facts, verdict };
    });
    if (settled === null) return false;
    logVerdict(deps.log, ended, settled.facts, settled.verdict);
    if (settled.verdict.change.state === "queued") deps.onQueued(settled.facts.requirementId);
    deps.onEvents();
    return true;
  };

  const settle = async (given: AttemptReport): Promise<ReportAnswer> => {
    const report = cleanText(given);
    const answer = (result: ReportAnswer["result"], missing: string[] = []): ReportAnswer => ({
      attemptId: report.attemptId,
      result,
      missing,
    });
    const collected = outputsOf(report);
    const facts = await store.readReportFacts(
      db,
      report.jobId,
      report.attemptId,
      collected.map((output) => output.sha256),
    );
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
    await deps.failpoints.hit("control-plane.before-complete");
    const done = await store.complete(db, ended, deps.ids.next("evt"), outputs);
    await deps.failpoints.hit("control-plane.completed");
    if (done) {
      deps.log.info(
        { jobId: report.jobId, attemptId: report.attemptId, outputs: outputs.length },
        "job completed",
      );
      deps.onEvents();
    }
    return answer(done ? "recorded" : "lease_lost");
  };

  return {
    async report(request) {
      await deps.failpoints.hit("control-plane.report-received");
      const answers: ReportAnswer[] = [];
      for (let at = 0; at < request.reports.length; at += REPORTS_AT_ONCE) {
        const some = request.reports.slice(at, at + REPORTS_AT_ONCE);
        answers.push(...(await Promise.all(some.map(settle))));
      }
      for (const { attemptId, result } of answers) {
        if (result === "recorded") deps.recentEnds.add(attemptId);
      }
      return { answers };
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

/** Ids of the healthy instances that could run the job. */
async function instancesThatCanServe(deps: ReportServiceDeps, jobId: string): Promise<string[]> {
  const requirementId = await store.readRequirementOf(deps.db, jobId);
  if (requirementId === null) return [];
  const instances = await deps.machines.placedInstances();
  const inventories = new Map<string, InventoryIndex>();
  for (const { inventoryDigest } of instances) {
    if (inventoryDigest === null || inventories.has(inventoryDigest)) continue;
    const inventory = await deps.machines.inventory(inventoryDigest);
    if (inventory !== undefined) inventories.set(inventoryDigest, inventory);
  }
  const needs = await deps.needsOf(requirementId);
  return thoseThatCanServe(instances, inventories, needs).map((instance) => instance.id);
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
