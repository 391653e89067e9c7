/** What machines tell of themselves, in SQL. */
import type { MachineReport, OfferedModel, RunKind, StartupStep } from "@holdfast/contract";
import { toJson, type Queryable, type Transaction } from "../platform/db.ts";
import type { MachineOffers } from "./model.ts";
import type { ReportSummary } from "./report.ts";

/** A machine that reports, locked against other reports of it until the transaction ends. */
export interface ReportingMachine {
  readonly session: number;
  readonly name: string;
  /** Services of the report before; null when there is none. */
  readonly services: MachineReport["services"] | null;
  readonly offers: MachineReport["offers"] | null;
}

/** Locks a machine's reports; null when there is no such machine. */
export async function lockReporting(
  tx: Transaction,
  machineId: string,
): Promise<ReportingMachine | null> {
  // Not the machine's own row: heartbeats write that, and must not wait for a report.
  await tx.query("select pg_advisory_xact_lock(hashtextextended($1, $2))", [
    machineId,
    REPORT_LOCK_SEED,
  ]);
  const { rows } = await tx.query<ReportingMachine & Record<string, unknown>>(
    `select m.session, m.name, r.report -> 'services' as services, r.offers
     from machines m left join machine_reports r on r.machine_id = m.id where m.id = $1`,
    [machineId],
  );
  return rows[0] ?? null;
}

/** Makes the advisory locks of reports differ from everybody else's. */
const REPORT_LOCK_SEED = 4_801_338;

/** Puts a report in the place of the one before. */
export async function writeReport(
  tx: Transaction,
  machineId: string,
  written: {
    readonly report: Omit<MachineReport, "offers" | "fetches">;
    readonly offers: MachineReport["offers"];
    readonly fetches: MachineReport["fetches"];
    readonly summary: ReportSummary;
    readonly diskFreeBytes: number | null;
  },
): Promise<void> {
  await tx.query(
    `insert into machine_reports (machine_id, report, summary, offers, fetches, disk_free_bytes)
     values ($1, $2, $3, $4, $5, $6)
     on conflict (machine_id) do update set
       report = excluded.report, summary = excluded.summary, offers = excluded.offers,
       fetches = excluded.fetches, disk_free_bytes = excluded.disk_free_bytes, reported_at = now()`,
    [
      machineId,
      toJson(written.report),
      toJson(written.summary),
      toJson(written.offers),
      toJson(written.fetches),
      written.diskFreeBytes,
    ],
  );
}

/** A kept report. */
export interface KeptReport {
  readonly report: Omit<MachineReport, "offers" | "fetches">;
  readonly offers: MachineReport["offers"];
  readonly fetches: MachineReport["fetches"];
  readonly reportedAt: number;
}

/** The last report of a machine. */
export async function readReport(db: Queryable, machineId: string): Promise<KeptReport | null> {
  const { rows } = await db.query<KeptReport & Record<string, unknown>>(
    `select report, offers, fetches, reported_at as "reportedAt" from machine_reports where machine_id = $1`,
    [machineId],
  );
  return rows[0] ?? null;
}

/** The summaries of all machines' reports. */
export async function readSummaries(
  db: Queryable,
): Promise<ReadonlyMap<string, ReportSummary & { readonly reportedAt: number }>> {
  const { rows } = await db.query<{ id: string; summary: ReportSummary; at: number }>(
    `select machine_id as id, summary, reported_at as at from machine_reports`,
  );
  return new Map(rows.map(({ id, summary, at }) => [id, { ...summary, reportedAt: at }]));
}

/** Writes who could fetch what, when that has changed. */
export async function writeOffers(
  tx: Transaction,
  machineId: string,
  models: readonly OfferedModel[],
): Promise<void> {
  await tx.query(
    `with fresh as materialized (
       select distinct on (folder, name) folder, name, size_bytes
       from unnest($2::text[], $3::text[], $4::bigint[]) as f (folder, name, size_bytes)
     ),
     gone as (
       delete from machine_offers o where machine_id = $1 and not exists (
         select from fresh f where f.folder = o.folder and f.name = o.name)
     )
     insert into machine_offers (machine_id, folder, name, size_bytes)
     select $1, folder, name, size_bytes from fresh
     on conflict (machine_id, folder, name) do update set size_bytes = excluded.size_bytes`,
    [
      machineId,
      models.map(({ folder }) => folder),
      models.map(({ name }) => toSlashes(name)),
      models.map(({ sizeBytes }) => sizeBytes),
    ],
  );
}

/** The machines that are there and could fetch models of these names. */
export async function readOffers(
  db: Queryable,
  names: readonly string[],
  limit: number,
): Promise<MachineOffers[]> {
  const { rows } = await db.query<MachineOffers & Record<string, unknown>>(
    `select m.id as "machineId", m.name as "machineName", r.fetches,
       r.disk_free_bytes as "diskFreeBytes", json_agg(json_build_object(
         'folder', o.folder, 'name', o.name, 'sizeBytes', o.size_bytes)) as models
     from machine_offers o
     join machines m on m.id = o.machine_id and m.state = 'online'
     join machine_reports r on r.machine_id = m.id
     where o.name = any($1::text[])
     group by m.id, r.machine_id order by m.id limit $2`,
    [[...new Set(names.map(toSlashes))], limit],
  );
  return rows;
}

/** Names as placement compares them: graphs made on Windows have the other separators. */
function toSlashes(name: string): string {
  return name.replaceAll("\\", "/");
}

/** A run of a machine's start or installation. */
export interface StartupRun {
  readonly runId: string;
  readonly kind: RunKind;
  readonly steps: readonly StartupStep[];
  readonly omitted: number;
  readonly logSha256: string | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

interface RunRow extends Record<string, unknown> {
  readonly run_id: string;
  readonly kind: RunKind;
  readonly steps: StartupStep[];
  readonly omitted: number;
  readonly log_sha256: string | null;
  readonly created_at: number;
  readonly updated_at: number;
}

function toRun(row: RunRow): StartupRun {
  return {
    runId: row.run_id,
    kind: row.kind,
    steps: row.steps,
    omitted: row.omitted,
    logSha256: row.log_sha256,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

/** One run; null when there is none. */
export async function readRun(
  db: Queryable,
  machineId: string,
  runId: string,
): Promise<StartupRun | null> {
  const { rows } = await db.query<RunRow>(
    "select * from startup_runs where machine_id = $1 and run_id = $2",
    [machineId, runId],
  );
  return rows[0] === undefined ? null : toRun(rows[0]);
}

/** The last runs of a machine, newest first. */
export async function readRuns(
  db: Queryable,
  machineId: string,
  limit: number,
): Promise<StartupRun[]> {
  const { rows } = await db.query<RunRow>(
    `select * from startup_runs where machine_id = $1
     order by created_at desc, run_id desc limit $2`,
    [machineId, limit],
  );
  return rows.map(toRun);
}

/** Writes a run as it stands now. A log that was named before stays when none is named now. */
export async function writeRun(
  tx: Transaction,
  machineId: string,
  run: Pick<StartupRun, "runId" | "kind" | "steps" | "omitted" | "logSha256">,
): Promise<void> {
  await tx.query(
    `insert into startup_runs (machine_id, run_id, kind, steps, omitted, log_sha256)
     values ($1, $2, $3, $4, $5, $6)
     on conflict (machine_id, run_id) do update set
       kind = excluded.kind, steps = excluded.steps, omitted = excluded.omitted,
       log_sha256 = coalesce(excluded.log_sha256, startup_runs.log_sha256), updated_at = now()`,
    [machineId, run.runId, run.kind, toJson(run.steps), run.omitted, run.logSha256],
  );
}

/** Keeps the newest `kept` runs of a machine; returns how many were removed. */
export async function dropRunsBeyond(
  tx: Transaction,
  machineId: string,
  kept: number,
): Promise<number> {
  const { rowCount } = await tx.query(
    `delete from startup_runs where machine_id = $1 and run_id in (
       select run_id from startup_runs where machine_id = $1
       order by created_at desc, run_id desc offset $2)`,
    [machineId, kept],
  );
  return rowCount;
}

/** Removes runs that were told of longer ago, at most `limit`; the last of each machine stays. */
export async function deleteOldRuns(db: Queryable, keptMs: number, limit: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from startup_runs r using (
       select machine_id, run_id from startup_runs o
       where updated_at < now() - make_interval(secs => $1::float8 / 1000)
         and exists (
           select from startup_runs n
           where n.machine_id = o.machine_id
             and (n.created_at, n.run_id) > (o.created_at, o.run_id))
       limit $2) as old
     where r.machine_id = old.machine_id and r.run_id = old.run_id`,
    [keptMs, limit],
  );
  return rowCount;
}
