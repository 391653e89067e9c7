import type { GraphLimits } from "@holdfast/comfyui/protocol";
import {
  HoldfastError,
  type PageStatus,
  type RegeneratePage,
  type regenerateBatchSchema,
} from "@holdfast/contract";
import type { z } from "zod";
import type { Caller } from "../access/model.ts";
import type { Db, Transaction } from "../platform/db.ts";
import { changeBatch, lockBatch } from "./batch-store.ts";
import { toError } from "./create-service.ts";
import { pagesText } from "./book-warnings.ts";
import { findBatch, goneBatch } from "./find-service.ts";
import { CHANGE_STEP, isOver, type Batch } from "./model.ts";
import { readGraphs, readPage, readPageStates } from "./page-store.ts";
import { planPage } from "./plan-page.ts";
import { renewPages, type NewVersion } from "./regenerate-store.ts";

/** What rendering anew asks. */
export interface RegenerateDeps {
  readonly db: Db;
  readonly graphLimits?: GraphLimits;
  readonly onDue: () => void;
}

/** Which pages were given a new version. */
export interface Regenerated {
  readonly batchId: string;
  readonly pages: readonly number[];
  /** What became of values otherwise than was asked for. */
  readonly warnings: readonly string[];
}

/** Renders pages anew; an ended batch runs again. Earlier versions are kept. */
export interface RegenerateService {
  /**
   * The pages named, or all that need it. Throws `not_found`, `page_busy` for named ones that are done
   * or rendering, unless forced, and `batch_not_ended` while a cancel is under way.
   */
  regenerate(
    caller: Caller,
    ref: string,
    wanted: z.infer<typeof regenerateBatchSchema>,
  ): Promise<Regenerated>;
  /** One page, with other values where any are given; while it is rendering only by force. */
  regeneratePage(
    caller: Caller,
    ref: string,
    page: number,
    wanted: RegeneratePage,
  ): Promise<Regenerated>;
}

const FLAGGED: readonly PageStatus[] = ["attention"];
const AT_REST: readonly PageStatus[] = ["attention", "cancelled", "pending"];
const NAMED = 10;

/** Makes the regenerate service. */
export function createRegenerateService(deps: RegenerateDeps): RegenerateService {
  const { db, graphLimits, onDue } = deps;

  const renewAll = async (
    batch: Batch,
    pages: readonly number[],
    states: readonly PageStatus[],
    by: string,
  ): Promise<Regenerated> => {
    const renewed: number[] = [];
    // In steps: while a transaction runs, no event that follows it can be read.
    for (let from = 0; from < pages.length; from += CHANGE_STEP) {
      const step = pages.slice(from, from + CHANGE_STEP);
      renewed.push(...(await renew(db, batch, step, states, () => ({ by }))));
    }
    onDue();
    return { batchId: batch.id, pages: renewed, warnings: [] };
  };

  return {
    async regenerate(caller, ref, { pages, force = false }) {
      const batch = await findBatch(db, caller, ref);
      if (pages === undefined) {
        const flagged = await readPageStates(db, batch.id, { states: FLAGGED });
        return await renewAll(
          batch,
          flagged.map(({ page }) => page),
          FLAGGED,
          caller.id,
        );
      }
      const wanted = [...new Set(pages)].sort((a, b) => a - b);
      const found = await readPageStates(db, batch.id, { pages: wanted });
      assertAllThere(batch, wanted, new Set(found.map(({ page }) => page)));
      const states: readonly PageStatus[] = force ? [...AT_REST, "done", "rendering"] : AT_REST;
      assertFree(batch, found, states);
      return await renewAll(batch, wanted, states, caller.id);
    },
    async regeneratePage(caller, ref, number, { force = false, ...change }) {
      const batch = await findBatch(db, caller, ref);
      // It was named alone, so a picture that is there is meant; only what renders now is asked about.
      const states: readonly PageStatus[] = [
        ...AT_REST,
        "done",
        ...(force ? ["rendering" as const] : []),
      ];
      const hasChange = Object.values(change).some((value) => value !== undefined);
      let warnings: readonly string[] = [];
      const pages = await renew(db, batch, [number], states, async (tx) => {
        const page = await readPage(tx, batch.id, number);
        if (page === undefined) throw noSuchPages(batch, [number]);
        assertFree(batch, [page], states);
        if (!hasChange) return { by: caller.id };
        const graph = (await readGraphs(tx, batch.id, [page.graphNo])).get(page.graphNo);
        const { overrides: set, variables } = page;
        const planned = planPage({ graph, set, variables }, change, graphLimits);
        if (planned.kind === "refused") throw toError(planned);
        ({ warnings } = planned);
        return { by: caller.id, planned };
      });
      onDue();
      return { batchId: batch.id, pages, warnings };
    },
  };
}

/** Gives pages a new version; what it is is decided under the lock, so that no change meanwhile is lost. */
async function renew(
  db: Db,
  { id, number }: Batch,
  pages: readonly number[],
  states: readonly PageStatus[],
  decide: (tx: Transaction) => NewVersion | Promise<NewVersion>,
): Promise<number[]> {
  return await db.transaction(async (tx) => {
    const locked = await lockBatch(tx, id, "wait");
    if (locked === undefined) throw goneBatch(id);
    const { batch } = locked;
    if (batch.status === "cancelled" && !isOver(batch)) {
      throw new HoldfastError(
        "batch_not_ended",
        `batch ${number} is just being cancelled; ask again when it has ended`,
        { retryAfterSeconds: 2, details: { batchId: id } },
      );
    }
    const renewed = await renewPages(tx, id, pages, states, await decide(tx));
    if (renewed.length > 0) {
      await changeBatch(tx, id, {
        wakeInMs: 0,
        ...(isOver(batch) && { status: "running", end: "never" }),
      });
    }
    return renewed;
  });
}

function assertAllThere(batch: Batch, wanted: readonly number[], found: ReadonlySet<number>): void {
  const missing = wanted.filter((page) => !found.has(page));
  if (missing.length > 0) throw noSuchPages(batch, missing);
}

function noSuchPages(batch: Batch, pages: readonly number[]): HoldfastError {
  return new HoldfastError(
    "not_found",
    `batch ${batch.number} has no ${pagesText(pages)}; it has ${batch.pageCount} pages`,
  );
}

function assertFree(
  batch: Batch,
  pages: readonly { readonly page: number; readonly state: PageStatus }[],
  states: readonly PageStatus[],
): void {
  const taken = pages.filter(({ state }) => !states.includes(state));
  if (taken.length > 0) throw busy(batch, taken);
}

function busy(
  batch: Batch,
  taken: readonly { readonly page: number; readonly state: PageStatus }[],
): HoldfastError {
  const pages = taken.map(({ page }) => page);
  const states = [...new Set(taken.map(({ state }) => state))].join(" or ");
  return new HoldfastError(
    "page_busy",
    `${pagesText(pages)} of batch ${batch.number}: ${states} now; say force to render anew all the same`,
    { details: { pages: pages.slice(0, NAMED) } },
  );
}
