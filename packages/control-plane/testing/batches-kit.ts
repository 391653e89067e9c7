/** Books on a database of their own: jobs that end as a test says. */
import {
  createBatchSchema,
  type BatchView,
  type BookPageView,
  type CreateBatch,
  type EventType,
} from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createTestDatabase, emptyTables } from "../../../test/support/test-database.ts";
import type { Caller } from "../src/access/model.ts";
import { createBookRounds, type BatchLoopDeps } from "../src/batches/loop.ts";
import { createBatchService } from "../src/batches/service.ts";
import type { JobsService } from "../src/jobs/service.ts";
import { SILENT_LOG } from "../src/platform/log.ts";
import { ANN, createJobsKit, graph } from "./jobs-kit.ts";

/** An error as the scheduler keeps it. */
const FAILED = {
  class: "gpu_fault",
  subclass: null,
  message: "the card is gone",
  strategy: "RETRY",
  confidence: 1,
  nodeId: "2",
  nodeType: "KSampler",
};

/** How a test ends a job. */
export interface EndOfJob {
  readonly state?: "completed" | "failed" | "timeout" | "cancelled";
  readonly poison?: boolean;
}

/** What happens beside a call of the jobs. */
export interface Disturbance {
  /** Comes between the call and the jobs, the first time. */
  readonly before?: () => Promise<unknown>;
  /** Whoever calls is killed when the jobs have done it, each time. */
  readonly isKilled?: boolean;
}

/** Jobs whose submits, or retries, are disturbed. */
export function disturbed(
  jobs: JobsService,
  call: "submit" | "retry",
  { before, isKilled = false }: Disturbance,
): JobsService {
  let isFirst = true;
  const beside = async <T>(work: () => Promise<T>): Promise<T> => {
    if (isFirst) {
      isFirst = false;
      await before?.();
    }
    const done = await work();
    if (isKilled) throw new Error("killed");
    return done;
  };
  return {
    ...jobs,
    ...(call === "submit"
      ? { submit: (...given) => beside(() => jobs.submit(...given)) }
      : { retry: (...given) => beside(() => jobs.retry(...given)) }),
  };
}

/** See {@link createBatchesKit}. */
export type BatchesKit = Awaited<ReturnType<typeof createBatchesKit>>;
/** One process that brings books on. */
export type Replica = ReturnType<BatchesKit["replica"]>;

/** Opens a database. */
export async function createBatchesKit() {
  const database = await createTestDatabase();
  const { db } = database;
  const jobsKit = createJobsKit(() => db);
  let seed = 100;
  const never = new AbortController().signal;

  const replica = (how: { readonly jobs?: JobsService; readonly maxQueuedJobs?: number } = {}) => {
    const { maxQueuedJobs } = how;
    const jobs =
      how.jobs ?? jobsKit.makeJobs({ ...(maxQueuedJobs !== undefined && { maxQueuedJobs }) });
    const random = seededRandom((seed += 1));
    const told: EventType[] = [];
    const deps: BatchLoopDeps = {
      db,
      clock: systemClock,
      random,
      log: SILENT_LOG,
      ids: createIdSource(systemClock, random),
      jobs,
      onEvents: (types) => void told.push(...types),
    };
    let wakes = 0;
    const batches = createBatchService({
      ...deps,
      jobs,
      defaults: { maxRetries: 3, retryBackoffMs: [15_000, 45_000, 90_000], parallel: true },
      onCreated: () => void (wakes += 1),
      onDue: () => void (wakes += 1),
    });
    return {
      jobs,
      batches,
      told,
      wakes: () => wakes,
      deps,
      /** One round, as after a wake or a second: what nobody noted is looked for in each. */
      tick: () => createBookRounds(deps).round(never),
      /** Rounds until there is nothing to do at once. */
      async settle(): Promise<void> {
        for (let round = 0; round < 500; round += 1) {
          if ((await createBookRounds(deps).round(never)) === "idle") return;
        }
        throw new Error("there is always more to do");
      },
    };
  };

  return {
    db,
    jobsKit,
    replica,
    close: () => database.drop(),
    /** Empties what books and jobs have left. */
    async clear(): Promise<void> {
      await emptyTables(db, [
        "batches",
        "book_graphs",
        "book_pages",
        "book_page_versions",
        "book_turns",
        "jobs",
        "attempts",
        "outputs",
        "leases",
        "events",
        "idempotency_keys",
      ]);
    },
    /** Ends the live jobs with these ids. */
    async end(jobIds: readonly string[], { state = "completed", poison = false }: EndOfJob = {}) {
      const isError = state === "failed" || state === "timeout";
      await db.query(
        `update jobs set state = $2, ended_at = now(), poison = $3, error = $4, held = false
         where id = any($1::text[]) and ended_at is null`,
        [jobIds, state, poison, isError ? JSON.stringify(FAILED) : null],
      );
    },
    /** The time of every retry has come. */
    async passPauses(): Promise<void> {
      await db.query("update book_pages set retry_at = now() where retry_at is not null");
      await db.query("update batches set wake_at = now() where wake_at is not null");
    },
    /** Whoever was giving pages out is gone, and that was long ago. */
    async passStale(): Promise<void> {
      await db.query(
        `update book_pages set releasing_since = now() - interval '1 minute'
         where releasing_since is not null`,
      );
      await db.query(
        `update book_page_versions set releasing_since = now() - interval '1 minute'
         where releasing_since is not null`,
      );
    },
    /** Types of events of books in order, with the page where they tell of one. */
    async told(): Promise<string[]> {
      const { rows } = await db.query<{ type: string; page: number | null }>(
        "select type, (payload ->> 'page')::int as page from events where type like 'book.%' order by seq",
      );
      return rows.map(({ type, page }) => (page === null ? type : `${type} ${page}`));
    },
    async jobCount(): Promise<number> {
      const { rows } = await db.query<{ count: number }>("select count(*)::int as count from jobs");
      return rows[0]?.count ?? 0;
    },
  };
}

/** A request for a book of so many pages on one graph, each with a seed of its own. */
export function book(pages: number, more: Partial<CreateBatch> = {}): CreateBatch {
  return createBatchSchema.parse({
    graph: graph(),
    pages: Array.from({ length: pages }, (_, place) => ({ set: { "2.seed": place } })),
    ...more,
  });
}

/** A made batch, by one replica. */
export async function make(
  { batches }: Replica,
  request: CreateBatch,
  caller: Caller = ANN,
): Promise<BatchView> {
  return (await batches.create(caller, request)).batch;
}

/** All pages of a batch. */
export async function pagesOf(
  { batches }: Replica,
  ref: string,
  caller: Caller = ANN,
): Promise<readonly BookPageView[]> {
  return (await batches.pages(caller, ref, { after: 0, limit: 500 })).items;
}

/** How pages are: `1 rendering`, `2 pending`. */
export async function statesOf(replica: Replica, ref: string): Promise<string> {
  return (await pagesOf(replica, ref)).map(({ page, status }) => `${page} ${status}`).join(", ");
}

/** Jobs of pages by page number, from 1. */
export async function jobsOf(replica: Replica, ref: string): Promise<readonly string[]> {
  return (await pagesOf(replica, ref)).map(({ jobId }) => jobId ?? "");
}
