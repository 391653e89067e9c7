import {
  HoldfastError,
  type EventType,
  type MachineReportRequest,
  type StartupStepsRequest,
} from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import { isDeepStrictEqual } from "node:util";
import type { BlobService } from "../files/model.ts";
import type { Db, Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import { fleetEvent } from "./fleet-events.ts";
import { mergeSteps, serviceChanges, summarize } from "./report.ts";
import * as store from "./report-store.ts";

/** Runs kept of each machine. */
export const RUNS_KEPT = 50;

/** What machines tell of themselves. */
export interface MachineReportService {
  /** Throws `machine_unknown` and `agent_superseded`, as every call of a session does. */
  putReport(request: MachineReportRequest): Promise<void>;
  /** The same; `invalid_request` when the log that is named is not in the store. */
  putSteps(request: StartupStepsRequest): Promise<void>;
}

/** What the service is made of. */
export interface MachineReportDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly log: Log;
  readonly blobs: Pick<BlobService, "missing">;
  /** Resolves when the rows of bytes that this process stored a moment ago are written. */
  readonly registerBlobs: (sha256s: readonly string[]) => Promise<void>;
  /** Told after commit. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** Makes the {@link MachineReportService}. */
export function createMachineReportService(deps: MachineReportDeps): MachineReportService {
  const { db, ids, log } = deps;
  return {
    async putReport({ machineId, session, report }) {
      const { offers, fetches, ...rest } = report;
      const changes = await db.transaction(async (tx) => {
        const machine = await lockSession(tx, machineId, session);
        await store.writeReport(tx, machineId, {
          report: rest,
          offers,
          fetches,
          summary: summarize(report),
          diskFreeBytes: report.host.diskFreeBytes,
        });
        if (!isDeepStrictEqual(machine.offers, offers)) {
          await store.writeOffers(tx, machineId, offers.models);
        }
        const changed = serviceChanges(machine.services, report.services);
        const facts = { machineId, machineName: machine.name };
        await appendEvents(
          tx,
          changed.map((change) =>
            fleetEvent(ids, "machine.service-changed", { ...facts, ...change }),
          ),
        );
        return changed;
      });
      if (changes.length > 0) deps.onEvents(["machine.service-changed"]);
      for (const { service, from, to, reason } of changes) {
        const level = to === "unhealthy" ? "warn" : "info";
        log[level]({ machineId, service, from, to, reason }, "service of a machine changed");
      }
    },

    async putSteps(request) {
      const { machineId, runId, kind } = request;
      const failed = await writeSteps(deps, request);
      if (failed.length > 0) deps.onEvents(["machine.step-failed"]);
      for (const { id, detail } of failed) {
        log.warn({ machineId, runId, kind, step: id, detail }, "step of a machine failed");
      }
    },
  };
}

async function writeSteps(deps: MachineReportDeps, request: StartupStepsRequest) {
  const { db, ids, log } = deps;
  const { machineId, session, runId, kind, logSha256 } = request;
  if (logSha256 !== undefined) await deps.registerBlobs([logSha256]);
  return await db.transaction(async (tx) => {
    const machine = await lockSession(tx, machineId, session);
    // Whoever names a blob touches it first: no collector takes it from then on.
    const missing = logSha256 === undefined ? [] : await deps.blobs.missing(tx, [logSha256]);
    if (missing.length > 0) {
      throw new HoldfastError(
        "invalid_request",
        "the log's bytes are not in the store: send them first (PUT /agent/v1/blobs/…)",
      );
    }
    const before = await store.readRun(tx, machineId, runId);
    const merged = mergeSteps(before?.steps ?? [], request.steps);
    const omitted = Math.max(before?.omitted ?? 0, merged.omitted);
    if (merged.omitted > 0) {
      log.warn({ machineId, runId, omitted }, "steps beyond a run's limit were not kept");
    }
    const logOf = logSha256 ?? null;
    const { steps } = merged;
    await store.writeRun(tx, machineId, { runId, kind, steps, omitted, logSha256: logOf });
    await store.dropRunsBeyond(tx, machineId, RUNS_KEPT);
    const facts = { machineId, machineName: machine.name, runId, kind };
    await appendEvents(
      tx,
      merged.newlyFailed.map(({ id, title, detail, advice, isOptional }) =>
        fleetEvent(ids, "machine.step-failed", {
          ...facts,
          stepId: id,
          title,
          detail,
          advice,
          isOptional,
        }),
      ),
    );
    return merged.newlyFailed;
  });
}

async function lockSession(
  tx: Transaction,
  machineId: string,
  session: number,
): Promise<store.ReportingMachine> {
  const machine = await store.lockReporting(tx, machineId);
  if (machine === null || machine.session < session) {
    throw new HoldfastError("machine_unknown", `machine ${machineId} is not registered`);
  }
  if (machine.session !== session) {
    throw new HoldfastError(
      "agent_superseded",
      `session ${session} of machine ${machineId} has ended: ${machine.session} has begun`,
    );
  }
  return machine;
}
