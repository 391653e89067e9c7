import type { GraphPatch } from "@holdfast/comfyui/protocol";
import { z } from "zod";
import { statement, toJson, toTimestamp, type Queryable } from "../platform/db.ts";
import type { Profile } from "./profile.ts";
import { statisticsSchema } from "./statistics.ts";

interface ProfileRow {
  readonly cost_key: string;
  readonly card: string;
  readonly shape: string;
  readonly cost_values: unknown;
  readonly models: string[];
  readonly statistics: unknown;
  readonly measured_at: number | null;
  readonly updated_at: number;
}

const valuesSchema = z.array(
  z.object({
    nodeId: z.string(),
    input: z.string(),
    value: z.union([z.string(), z.number(), z.boolean()]),
  }),
);

/** Undefined for a row that this version cannot read: a newer one wrote it. */
function toProfile(row: ProfileRow): Profile | undefined {
  const statistics = statisticsSchema.safeParse(row.statistics);
  const values = valuesSchema.safeParse(row.cost_values);
  if (!statistics.success || !values.success) return undefined;
  return {
    costKey: row.cost_key,
    card: row.card,
    shape: row.shape,
    values: values.data,
    models: row.models,
    statistics: statistics.data,
    measuredAt: row.measured_at,
    updatedAt: row.updated_at,
  };
}

function toProfiles(rows: readonly ProfileRow[]): Profile[] {
  return rows.flatMap((row) => toProfile(row) ?? []);
}

/** Where a profile is: by this a page goes on. */
export interface ProfilePlace {
  readonly costKey: string;
  readonly card: string;
}

/** Profiles after a place, in the order of their places. */
export async function listProfiles(
  db: Queryable,
  after: ProfilePlace | null,
  limit: number,
): Promise<Profile[]> {
  const { rows } = await db.query<ProfileRow>(
    `select * from profiles where (cost_key, card) > ($1, $2) order by cost_key, card limit $3`,
    [after?.costKey ?? "", after?.card ?? "", limit],
  );
  return toProfiles(rows);
}

/** The profiles added to last. */
export async function readNewestProfiles(db: Queryable, limit: number): Promise<Profile[]> {
  const { rows } = await db.query<ProfileRow>(
    "select * from profiles order by updated_at desc limit $1",
    [limit],
  );
  return toProfiles(rows);
}

/** A text that differs when the table does. */
export async function readProfilesMark(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ mark: string }>(
    "select count(*) || ':' || coalesce(extract(epoch from max(updated_at)), 0) as mark from profiles",
  );
  return rows[0]?.mark ?? "";
}

/** Keeps others from writing profiles until the transaction ends: two may add to the same ones. */
export async function lockProfiles(tx: Queryable): Promise<void> {
  await tx.query("lock table profiles in share row exclusive mode");
}

/** The profiles in these places, those that are there. */
export async function readProfiles(
  db: Queryable,
  places: readonly ProfilePlace[],
): Promise<Profile[]> {
  const { rows } = await db.query<ProfileRow>(
    `select p.* from unnest($1::text[], $2::text[]) as w (cost_key, card)
     join profiles p on p.cost_key = w.cost_key and p.card = w.card`,
    [places.map(({ costKey }) => costKey), places.map(({ card }) => card)],
  );
  return toProfiles(rows);
}

/** A profile to write. */
export type WrittenProfile = Omit<Profile, "updatedAt">;

/** Writes profiles, new and changed ones, in one statement. */
export async function writeProfiles(
  tx: Queryable,
  profiles: readonly WrittenProfile[],
): Promise<void> {
  await tx.query(
    `insert into profiles (cost_key, card, shape, cost_values, models, statistics, measured_at)
     select cost_key, card, shape, cost_values,
       array(select jsonb_array_elements_text(models)), statistics, measured_at
     from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::jsonb[], $6::jsonb[],
       $7::timestamptz[])
       as p (cost_key, card, shape, cost_values, models, statistics, measured_at)
     on conflict (cost_key, card) do update set statistics = excluded.statistics,
       measured_at = excluded.measured_at, updated_at = now()`,
    [
      profiles.map(({ costKey }) => costKey),
      profiles.map(({ card }) => card),
      profiles.map(({ shape }) => shape),
      profiles.map(({ values }) => toJson(values)),
      profiles.map(({ models }) => toJson(models)),
      profiles.map(({ statistics }) => toJson(statistics)),
      profiles.map(({ measuredAt }) => (measuredAt === null ? null : toTimestamp(measuredAt))),
    ],
  );
}

/** Removes those added to longest ago, so that `keep` are left; at most `limit` at once. */
export async function pruneProfiles(db: Queryable, keep: number, limit: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from profiles where (cost_key, card) in (
       select cost_key, card from profiles order by updated_at
       limit least($2, greatest(0, (select count(*) from profiles) - $1)))`,
    [keep, limit],
  );
  return rowCount;
}

/** What an attempt ran, and where. */
export interface RunFacts {
  readonly attemptId: string;
  readonly costKey: string;
  readonly shape: string;
  readonly patch: GraphPatch | null;
  readonly models: readonly string[];
  /** As its instance tells it now. */
  readonly deviceName: string | null;
}

const RUN_FACTS = statement(
  "profiles.run_facts",
  `select a.id as "attemptId", j.cost_key as "costKey", g.hash as shape, j.patch,
     array(select m ->> 'name' from jsonb_array_elements(r.needs -> 'models') m limit $2) as models,
     v.device_name as "deviceName"
   from attempts a
   join jobs j on j.id = a.job_id
   join graphs g on g.id = j.graph_id
   join requirements r on r.id = j.requirement_id
   left join instances i on i.id = a.instance_id
   left join inventories v on v.digest = i.inventory_digest
   -- Of the graph as it was submitted, from its beginning.
   where a.id = any($1::text[]) and a.outcome = 'succeeded' and a.resume is null
     and j.cost_key is not null and j.plan is null`,
);

/** What these attempts ran; those that say nothing of their shape's cost are left out. */
export async function readRunFacts(
  db: Queryable,
  attemptIds: readonly string[],
  modelsMax: number,
): Promise<RunFacts[]> {
  const { rows } = await db.query<RunFacts & Record<string, unknown>>(RUN_FACTS, [
    attemptIds,
    modelsMax,
  ]);
  return rows;
}
