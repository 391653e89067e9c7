/** What machines were asked to fetch, in SQL. */
import type { WantedModel } from "@holdfast/contract";
import { tryAdvisoryLock } from "../platform/advisory-lock.ts";
import { toJson, type Queryable, type Transaction } from "../platform/db.ts";

/** A model that a machine was asked to fetch. */
export interface FetchAsk extends WantedModel {
  readonly machineId: string;
  /** Since it was asked, and since jobs were seen to need it, in ms. */
  readonly askedMs: number;
  readonly neededMs: number;
}

/** Asks that are read; there are as many as models are missing somewhere. */
const ASKS_READ = 5_000;

/** All that is asked for now: of each machine, what was asked first comes first. */
export async function readAsks(db: Queryable): Promise<FetchAsk[]> {
  const { rows } = await db.query<FetchAsk & Record<string, unknown>>(
    `select machine_id as "machineId", folder, name,
       (extract(epoch from now() - asked_at) * 1000)::float8 as "askedMs",
       (extract(epoch from now() - needed_at) * 1000)::float8 as "neededMs"
     from model_fetches order by machine_id, asked_at, folder, name limit $1`,
    [ASKS_READ],
  );
  return rows;
}

/** The advisory lock under which machines are asked: two replicas would ask two of them. */
const ASK_LOCK = 4_801_339;

/** Takes the lock of asking for this transaction; false when another replica asks. */
export async function tryLockAsking(tx: Transaction): Promise<boolean> {
  return await tryAdvisoryLock(tx, ASK_LOCK);
}

/** Asks machines for models, or notes that what they were asked for is needed still; each is named once. */
export async function writeAsks(
  tx: Transaction,
  asks: readonly (WantedModel & { readonly machineId: string })[],
): Promise<void> {
  if (asks.length === 0) return;
  await tx.query(
    `insert into model_fetches (machine_id, folder, name)
     select machine_id, folder, name
     from unnest($1::text[], $2::text[], $3::text[]) as a (machine_id, folder, name)
     where exists (select from machines m where m.id = a.machine_id)
     on conflict (machine_id, folder, name) do update set needed_at = now()`,
    [asks.map((ask) => ask.machineId), asks.map((ask) => ask.folder), asks.map((ask) => ask.name)],
  );
}

/** Takes back what nobody was seen to need for so long. */
export async function dropAsks(db: Queryable, unneededMs: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from model_fetches
     where needed_at < now() - make_interval(secs => $1::float8 / 1000)`,
    [unneededMs],
  );
  return rowCount;
}

/** A job that waits for a fetch. */
export interface FetchingJob {
  readonly id: string;
  readonly owner: string;
}

/** The newest job there is, of whatever requirement; an empty text while there is none. */
export async function readNewestJobId(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ id: string | null }>("select max(id) as id from jobs");
  return rows[0]?.id ?? "";
}

/** See {@link noteFetching}. With a late `afterId` the primary key leads to the few jobs behind it. */
export const NOTE_FETCHING = `with waiting as materialized (
     select id from jobs
     where state = 'queued' and not held and requirement_id = $1 and id > $5
       and not coalesce(plan -> 'replanned', '[]'::jsonb) @> $3::jsonb
     order by id limit $4 for update skip locked
   )
   update jobs j set plan = jsonb_set(
     coalesce(j.plan, '{"version": 0, "before": "nothing", "patch": null}'::jsonb),
     '{replanned}', coalesce(j.plan -> 'replanned', '[]'::jsonb)
       || jsonb_build_object('at', floor(extract(epoch from now()) * 1000),
            'rung', 'fetch_model', 'explain', $2::text))
   from waiting where j.id = waiting.id
   returning j.id, j.owner`;

/** Notes on jobs under a requirement, after an id, that they wait for a fetch: each once, at most `limit`. */
export async function noteFetching(
  tx: Transaction,
  requirementId: number,
  explain: string,
  page: { readonly afterId: string; readonly limit: number },
): Promise<FetchingJob[]> {
  const { rows } = await tx.query<FetchingJob & Record<string, unknown>>(NOTE_FETCHING, [
    requirementId,
    explain,
    toJson([{ rung: "fetch_model" }]),
    page.limit,
    page.afterId,
  ]);
  return rows;
}
