import { HoldfastError } from "@holdfast/contract";
import { maySee, type Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import { readBatch, type BatchRef } from "./batch-store.ts";
import type { Batch } from "./model.ts";

const BATCH_ID = /^bat_[0-9a-z]{26}$/;
/** The largest number a batch can have; larger ones are nobody's. */
const NUMBER = /^[1-9][0-9]{0,14}$/;

function parseRef(ref: string): BatchRef | undefined {
  if (BATCH_ID.test(ref)) return { id: ref };
  return NUMBER.test(ref) ? { number: Number(ref) } : undefined;
}

/** The batch that a caller names by id or number. One of somebody else is `not_found`, as is none. */
export async function findBatch(db: Db, caller: Caller, ref: string): Promise<Batch> {
  const parsed = parseRef(ref);
  const batch = parsed === undefined ? undefined : await readBatch(db, parsed);
  if (batch === undefined || !maySee(caller, batch.owner)) {
    throw new HoldfastError("not_found", `there is no batch ${ref.slice(0, 64)}`);
  }
  return batch;
}

/** It was there when it was looked up, and has been removed since. */
export function goneBatch(id: string): HoldfastError {
  return new HoldfastError("not_found", `there is no batch ${id} any more`);
}
