import type { BatchView, CreateBatch } from "@holdfast/contract";
import type { Caller } from "../access/model.ts";
import { readBookGauges } from "./batch-store.ts";
import { createChangeService, type ChangeService } from "./change-service.ts";
import { createBatch, type CreateDeps } from "./create-service.ts";
import { createReadService, type ReadDeps, type ReadService } from "./read-service.ts";
import { createRegenerateService, type RegenerateService } from "./regenerate-service.ts";
import { toBatchView } from "./views.ts";

/** What the service of batches is made of. */
export interface BatchServiceDeps extends Omit<CreateDeps, "onCreated">, ReadDeps {
  /** A batch was made, and its event written. */
  readonly onCreated: () => void;
  /** There is something to do for a batch. */
  readonly onDue: () => void;
}

/** Batches as callers use them. */
export interface BatchService extends ReadService, ChangeService, RegenerateService {
  /** See `createBatch`. */
  create(
    caller: Caller,
    request: CreateBatch,
    idempotencyKey?: string,
  ): Promise<{
    readonly batch: BatchView;
    readonly created: boolean;
    readonly warnings: readonly string[];
  }>;
  /** Living books by status and their pages by state. */
  gauges(): ReturnType<typeof readBookGauges>;
}

/** Makes the service of batches. */
export function createBatchService(deps: BatchServiceDeps): BatchService {
  const read = createReadService(deps);
  return {
    ...read,
    ...createChangeService(deps),
    ...createRegenerateService(deps),
    async create(caller, request, idempotencyKey) {
      const made = await createBatch(deps, caller, request, idempotencyKey);
      // One that was made before may have gone far.
      const batch = made.created ? toBatchView(made.batch) : await read.view(made.batch.id);
      return { ...made, batch };
    },
    gauges: () => readBookGauges(deps.db),
  };
}
