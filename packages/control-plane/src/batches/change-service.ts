import { HoldfastError, type changeBatchSchema } from "@holdfast/contract";
import type { z } from "zod";
import type { Caller } from "../access/model.ts";
import { isStorableText } from "../jobs/json-bounds.ts";
import type { Db } from "../platform/db.ts";
import { changeBatch, lockBatch, type BatchChange } from "./batch-store.ts";
import { findBatch, goneBatch } from "./find-service.ts";
import { isOver, type Batch } from "./model.ts";

/** What changing a batch asks. */
export interface ChangeDeps {
  readonly db: Db;
  /** There is something to do for a batch. */
  readonly onDue: () => void;
}

/** What callers change about a batch. Each is safe to repeat. Throws `batch_ended`, `batch_not_ended`. */
export interface ChangeService {
  /** Nothing new is given out; what runs goes on. */
  pause(caller: Caller, ref: string): Promise<string>;
  resume(caller: Caller, ref: string): Promise<string>;
  /** Its live jobs are cancelled and its pages, soon after, in steps. */
  cancel(caller: Caller, ref: string): Promise<string>;
  change(caller: Caller, ref: string, wanted: z.infer<typeof changeBatchSchema>): Promise<string>;
  /** Removes one that has ended; its jobs stay as long as any would. */
  remove(caller: Caller, ref: string): Promise<void>;
}

/** Makes the change service; each call gives the batch's id. */
export function createChangeService({ db, onDue }: ChangeDeps): ChangeService {
  const apply = async (
    caller: Caller,
    ref: string,
    decide: (batch: Batch) => BatchChange,
  ): Promise<string> => {
    const { id } = await findBatch(db, caller, ref);
    await db.transaction(async (tx) => {
      const locked = await lockBatch(tx, id, "wait");
      if (locked === undefined) throw goneBatch(id);
      await changeBatch(tx, id, decide(locked.batch));
    });
    onDue();
    return id;
  };
  return {
    pause: (caller, ref) =>
      apply(caller, ref, (batch) => {
        assertOpen(batch);
        return { status: "paused" };
      }),
    resume: (caller, ref) =>
      apply(caller, ref, (batch) => {
        assertOpen(batch);
        return { status: "running", wakeInMs: 0 };
      }),
    cancel: (caller, ref) =>
      apply(caller, ref, (batch) => {
        if (batch.status === "cancelled") return {};
        assertOpen(batch);
        return { status: "cancelled", wakeInMs: 0 };
      }),
    change: (caller, ref, wanted) =>
      apply(caller, ref, (batch) => {
        const { name, window, priority } = wanted;
        if (name !== undefined && !isStorableText(name)) {
          throw wrong("name", "holds a NUL character or half a surrogate pair");
        }
        if (window !== undefined && window !== 1 && !batch.parallel) {
          throw wrong("window", "is 1: the pages of this batch go in order");
        }
        const isPriority = priority !== undefined && priority !== batch.priority;
        return {
          ...(name !== undefined && { name }),
          ...(window !== undefined && { window }),
          ...(isPriority && { priority, spreadsPriority: true }),
          ...(!isOver(batch) && { wakeInMs: 0 }),
        };
      }),
    async remove(caller, ref) {
      await apply(caller, ref, (batch) => {
        if (isOver(batch)) return { remove: true };
        throw new HoldfastError(
          "batch_not_ended",
          `batch ${batch.number} has not ended: it is ${batch.status}; cancel it first`,
          { details: { batchId: batch.id, status: batch.status } },
        );
      });
    },
  };
}

function assertOpen(batch: Batch): void {
  if (batch.status === "running" || batch.status === "paused") return;
  throw new HoldfastError(
    "batch_ended",
    `batch ${batch.number} has ended: it is ${batch.status}; regenerate pages to render it again`,
    { details: { batchId: batch.id, status: batch.status } },
  );
}

function wrong(field: string, what: string): HoldfastError {
  return new HoldfastError("invalid_request", `${field} ${what}`, { details: { field } });
}
