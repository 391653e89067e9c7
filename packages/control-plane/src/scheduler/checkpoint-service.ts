import {
  EVENT_VERSION,
  type CheckpointRequest,
  type CheckpointResponse,
  type EventType,
} from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import * as store from "./checkpoint-store.ts";
import { cleanText } from "./clean-text.ts";
import type { ConfirmedBlobs } from "./report-service.ts";

/** What the checkpoint service is made of. */
export interface CheckpointServiceDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly log: Log;
  readonly blobs: Pick<ConfirmedBlobs, "register">;
  /** Told after commit: events of these types were written. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** Checkpoints as agents tell of them. */
export interface CheckpointService {
  note(request: CheckpointRequest): Promise<CheckpointResponse>;
  /** What a later attempt of a job can go on from now. */
  usable(jobId: string): Promise<store.UsableCheckpoints>;
  /** Removes those of jobs that ended so long ago, and says how many; live jobs keep theirs. */
  removeOfEnded(endedHoursAgo: number): Promise<number>;
}

/** Rows removed in one statement. */
const REMOVE_STEP = 1_000;

/** What one job may keep: all latents of one attempt, but no more bytes than a long video has. */
const KEPT = { count: 64, bytes: 1024 * 1024 * 1024 };

/** Makes the checkpoint service. */
export function createCheckpointService(deps: CheckpointServiceDeps): CheckpointService {
  return {
    async note(given) {
      const request = cleanText(given);
      const { jobId, attemptId, saved } = request;
      await deps.blobs.register(saved.map(({ sha256 }) => sha256));
      const written = await deps.db.transaction(async (tx) => {
        const attempt = await store.lockForCheckpoints(tx, request);
        if (attempt === null) return null;
        const { number, owner, batchId, attemptNumber } = attempt;
        const event = (type: EventType, facts: object) => ({
          id: deps.ids.next("evt"),
          type,
          version: EVENT_VERSION,
          owner,
          jobId,
          payload: { jobId, number, batchId, attemptId, attempt: attemptNumber, ...facts },
        });
        if (request.unusable.length > 0) await store.markUnusable(tx, request, attemptNumber);
        const resume = request.resumedFrom.length > 0 ? await store.noteResume(tx, request) : null;
        const fresh =
          saved.length > 0
            ? await store.saveCheckpoints(
                tx,
                request,
                { ...attempt, resume: attempt.resume ?? resume },
                saved,
              )
            : new Set<string>();
        if (fresh.size > 0) await store.trimCheckpoints(tx, jobId, KEPT);
        const events = [
          ...(resume === null ? [] : [event("attempt.resumed", resume)]),
          ...saved
            .filter(({ key }) => fresh.has(key))
            .map(({ nodeId, sizeBytes, percent }) =>
              event("checkpoint.saved", { nodeId, sizeBytes, percent }),
            ),
        ];
        if (events.length > 0) await appendEvents(tx, events);
        return events.map(({ type }) => type);
      });
      if (written === null) return { result: "lease_lost" };
      for (const { key, nodeId, reason } of request.unusable) {
        deps.log.warn({ jobId, attemptId, key, nodeId, reason }, "checkpoint is of no use");
      }
      if (written.length > 0) deps.onEvents(written);
      return { result: "recorded" };
    },
    usable: (jobId) => store.readUsable(deps.db, jobId),
    async removeOfEnded(endedHoursAgo) {
      let removed = 0;
      for (;;) {
        const step = await store.deleteOfEnded(deps.db, endedHoursAgo, REMOVE_STEP);
        removed += step;
        if (step < REMOVE_STEP) return removed;
      }
    },
  };
}
