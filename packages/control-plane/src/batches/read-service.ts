import {
  HoldfastError,
  type BatchStatus,
  type BatchView,
  type BookPageDetail,
  type BookPageView,
  type OutputView,
  type PageStatus,
} from "@holdfast/contract";
import { invariant } from "@holdfast/runtime";
import { ownerScope, type Caller } from "../access/model.ts";
import { toInstant, toPage, type PageRequest } from "../access/pages.ts";
import type { JobsService } from "../jobs/service.ts";
import type { Db } from "../platform/db.ts";
import { listBatches, readBatch, readChangedPages } from "./batch-store.ts";
import type { BookReader, PageWithOutputs } from "./book-files.ts";
import { findBatch, goneBatch } from "./find-service.ts";
import { MAX_VERSIONS_SHOWN, type Batch } from "./model.ts";
import { findPrompt, type PromptOf } from "./page-prompt.ts";
import type { PageFacts } from "./page-rows.ts";
import { listPages, readGraphs, readLargestPage, readPage, readVersions } from "./page-store.ts";
import { isGoing, type BookStanding } from "./standing.ts";
import { readStandings } from "./standing-store.ts";
import { toBatchView, toPageView } from "./views.ts";

/** What reading batches asks. */
export interface ReadDeps {
  readonly db: Db;
  readonly jobs: Pick<JobsService, "outputsOf">;
}

/** Which pages of a batch to read. */
export interface PagesRequest {
  /** Those after this page number; 0 from the first. */
  readonly after: number;
  readonly limit: number;
  readonly status?: PageStatus | undefined;
  /** Says of each what it is a picture of, where outputs are read. */
  readonly withPrompts?: boolean;
}

/** Some pages of a batch. */
export interface SomePages<T> {
  readonly items: readonly T[];
  /** The number to read on after; null at the end. */
  readonly next: number | null;
}

/** Batches as callers read them. `ref` is an id or a number. One of somebody else is `not_found`. */
export interface ReadService {
  get(caller: Caller, ref: string): Promise<BatchView>;
  list(
    caller: Caller,
    filter: { readonly status?: BatchStatus | undefined; readonly name?: string | undefined },
    page: PageRequest,
  ): Promise<{ readonly items: readonly BatchView[]; readonly next: string | null }>;
  pages(caller: Caller, ref: string, request: PagesRequest): Promise<SomePages<BookPageView>>;
  page(caller: Caller, ref: string, page: number): Promise<BookPageDetail>;
  /**
   * Pages in order with the outputs of those that are done: a bounded step for whoever writes an archive
   * or a sheet of a whole book, and goes on after `next`.
   */
  pagesWithOutputs(
    caller: Caller,
    ref: string,
    request: PagesRequest,
  ): Promise<SomePages<PageWithOutputs>>;
  /** A batch by its id, after a change of it. */
  view(id: string): Promise<BatchView>;
  /** Whole books, read in such steps. */
  readonly reader: BookReader;
}

/** Pages of a whole book that are read at once. */
const READER_STEP = 100;
const NO_STANDINGS: ReadonlyMap<string, BookStanding> = new Map();
const NONE_CHANGED: ReadonlyMap<string, number> = new Map();
const NO_OUTPUTS: ReadonlyMap<string, readonly OutputView[]> = new Map();

/** Makes the read service. */
export function createReadService({ db, jobs }: ReadDeps): ReadService {
  const views = async (batches: readonly Batch[]): Promise<BatchView[]> => {
    const going = batches.filter(isGoing).map(({ id }) => id);
    // A page that came out otherwise is one that is done.
    const done = batches.filter(({ counts }) => counts.done > 0).map(({ id }) => id);
    const [standings, changed] = await Promise.all([
      going.length === 0 ? NO_STANDINGS : readStandings(db, going),
      done.length === 0 ? NONE_CHANGED : readChangedPages(db, done),
    ]);
    return batches.map((batch) =>
      toBatchView(batch, {
        standing: standings.get(batch.id),
        changedPages: changed.get(batch.id),
      }),
    );
  };
  const view = async (batch: Batch): Promise<BatchView> => {
    const [only] = await views([batch]);
    invariant(only !== undefined, "one batch has one view");
    return only;
  };

  const readPages = async (batch: Batch, request: PagesRequest) => {
    const { after, limit, status = null } = request;
    const found = await listPages(db, batch.id, { after, limit: limit + 1, state: status });
    const facts = found.slice(0, limit);
    const next = found.length > limit ? (facts.at(-1)?.page ?? null) : null;
    return { facts, next };
  };

  /** By page number; one graph after the other, as any of them may be large. */
  const readPrompts = async (
    batch: Batch,
    facts: readonly PageFacts[],
  ): Promise<ReadonlyMap<number, string | null>> => {
    const known = new Map<number, PromptOf>();
    const prompts = new Map<number, string | null>();
    for (const { page, graphNo, overrides } of facts) {
      const promptOf =
        known.get(graphNo) ?? findPrompt((await readGraphs(db, batch.id, [graphNo])).get(graphNo));
      known.set(graphNo, promptOf);
      prompts.set(page, promptOf(overrides));
    }
    return prompts;
  };

  const readOutputs = async (
    batch: Batch,
    request: PagesRequest,
  ): Promise<SomePages<PageWithOutputs>> => {
    const { facts, next } = await readPages(batch, request);
    const done = facts.flatMap(({ state, jobId }) =>
      state === "done" && jobId !== null ? [jobId] : [],
    );
    const outputs = done.length === 0 ? NO_OUTPUTS : await jobs.outputsOf(done);
    const prompts = request.withPrompts === true ? await readPrompts(batch, facts) : undefined;
    const items = facts.map((page) => ({
      page: toPageView(page, batch),
      ...(prompts !== undefined && { prompt: prompts.get(page.page) ?? null }),
      outputs: page.state === "done" ? (outputs.get(page.jobId ?? "") ?? []) : [],
    }));
    return { items, next };
  };

  return {
    get: async (caller, ref) => await view(await findBatch(db, caller, ref)),
    async view(id) {
      const batch = await readBatch(db, { id });
      if (batch === undefined) throw goneBatch(id);
      return await view(batch);
    },
    async list(caller, { status = null, name = null }, page) {
      const filter = { owner: ownerScope(caller), status, name };
      const found = await listBatches(db, filter, { ...page, limit: page.limit + 1 });
      const { items, next } = toPage(found, page.limit);
      return { items: await views(items), next };
    },
    async pages(caller, ref, request) {
      const batch = await findBatch(db, caller, ref);
      const { facts, next } = await readPages(batch, request);
      return { items: facts.map((page) => toPageView(page, batch)), next };
    },
    pagesWithOutputs: async (caller, ref, request) =>
      await readOutputs(await findBatch(db, caller, ref), request),
    reader: {
      async find(caller, ref) {
        const batch = await findBatch(db, caller, ref);
        return { batch: await view(batch), largestPage: await readLargestPage(db, batch.id) };
      },
      async *pages(batchId, { after = 0, status, withPrompts = false, signal }) {
        for (let from: number | null = after; from !== null && !signal.aborted;) {
          const batch = await readBatch(db, { id: batchId });
          if (batch === undefined) throw goneBatch(batchId);
          const step: SomePages<PageWithOutputs> = await readOutputs(batch, {
            after: from,
            limit: READER_STEP,
            status,
            withPrompts,
          });
          if (step.items.length > 0) yield step.items;
          from = step.next;
        }
      },
    },
    async page(caller, ref, number) {
      const batch = await findBatch(db, caller, ref);
      const page = await readPage(db, batch.id, number);
      if (page === undefined) {
        throw new HoldfastError("not_found", `batch ${batch.number} has no page ${number}`);
      }
      const earlier = await readVersions(db, batch.id, number, MAX_VERSIONS_SHOWN - 1);
      const versions = [
        {
          version: page.version,
          jobId: page.jobId,
          overrides: page.overrides,
          by: page.madeBy,
          createdAt: page.madeAt,
          changes: page.changes,
        },
        ...earlier,
      ];
      const jobIds = versions.flatMap(({ jobId }) => jobId ?? []);
      const outputs = await jobs.outputsOf(jobIds);
      return {
        ...toPageView(page, batch),
        versions: versions.map(({ createdAt, overrides, jobId, ...version }) => ({
          ...version,
          jobId,
          overrides: { ...overrides },
          createdAt: toInstant(createdAt),
          outputs: [...(outputs.get(jobId ?? "") ?? [])],
          outputsRemoved: jobId !== null && !outputs.has(jobId),
        })),
      };
    },
  };
}
