/**
 * The simulation's database: a real Postgres with the real migrations, whose `now()` is the
 * simulated time. Postgres looks a function up along the search path; here `public` comes before
 * `pg_catalog` and has a `now()` of its own, so that every statement and every default of the
 * product is driven, as it stands.
 */
import { randomBytes } from "node:crypto";
import { seededRandom } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import {
  createDb,
  type Db,
  type PoolDb,
  type Statement,
} from "../../../packages/control-plane/src/platform/db.ts";
import { SILENT_LOG } from "../../../packages/control-plane/src/platform/log.ts";
import {
  migrate,
  migrationsFolder,
} from "../../../packages/control-plane/src/platform/migrations.ts";
import { databaseUrl } from "../../support/postgres-global-setup.ts";
import { JOURNAL_SQL } from "./journal.ts";
import { createLanes, type Lane, type Lanes, type StatementResult } from "./lanes.ts";
import { createPool, type PoolGround } from "./pool.ts";
import { EPOCH_MS, type SimProcess } from "./process.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";

/** Statements by name, and what stands in them instead: a guard taken out, for a twin. */
export type StatementEdits = readonly {
  /** Name of a statement, or a part of its text where it has none. */
  readonly of: string;
  readonly from: string;
  readonly to: string;
}[];

/** The database of one simulation. */
export interface SimDatabase {
  /** The database as a process sees it: a pool of its own, statements that take their time. */
  connect(process: SimProcess, seed: number): Db;
  /** Reads for the simulation itself: at once, and only what is committed. */
  read(text: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>;
  /** Ends every connection, as a crash does, and refuses new ones. */
  takeDown(): void;
  bringUp(): void;
  /** Names of processes that cannot reach it. */
  readonly cutOff: Set<string>;
  /** How far its clock is ahead of the world's. */
  aheadMs: number;
  /** The answers to so many of the next writes get lost on their way. */
  answersToLose: number;
  /** Runs after a write was done and before its process hears of it; once. */
  afterNextWrite: (() => void) | undefined;
  /** Longest time that a statement takes; it is 0.3 ms at least. */
  slowestMs: number;
  /** Columns that hold an instant which is not of the simulation's time, give or take its skews. */
  foreignInstants(): Promise<string[]>;
  /** Statements that ran. */
  statements(): number;
  /** Transactions that have begun and not ended. */
  openTransactions(): number;
  close(): Promise<void>;
}

/** A migrated database to copy; made once for many simulations. */
export interface SimTemplate {
  readonly name: string;
  drop(): Promise<void>;
}

const common = { clock: systemClock, random: systemRandom, log: SILENT_LOG };
const admin = (url: string): PoolDb =>
  createDb({ ...common, target: url, applicationName: "holdfast-simulation", max: 1 });

/** Makes the database that simulations are copies of. */
export async function createSimTemplate(serverUrl: string): Promise<SimTemplate> {
  const name = `holdfast_sim_${randomBytes(8).toString("hex")}`;
  const server = admin(serverUrl);
  await server.query(`create database ${name} template template0 strategy file_copy`);
  await server.query(`alter database ${name} set search_path = public, pg_catalog`);
  // A circle of waits is broken before the simulation takes any of them for a wait.
  await server.query(`alter database ${name} set deadlock_timeout = '10ms'`);
  const db = admin(databaseUrl(serverUrl, name));
  await db.query(
    `create function public.now() returns timestamptz language sql stable as $$
       select coalesce(nullif(current_setting('sim.now', true), '')::timestamptz, pg_catalog.now())
     $$`,
  );
  await migrate(db, { folder: migrationsFolder(), log: SILENT_LOG });
  await db.query(JOURNAL_SQL);
  // A clean-up at an instant of its own would change the order of rows.
  await db.query(
    `do $$ declare t text; begin
       for t in select relname from pg_class
         where relkind = 'r' and relnamespace = 'public'::regnamespace
       loop execute format('alter table %I set (autovacuum_enabled = off)', t); end loop;
     end $$`,
  );
  await db.close();
  return {
    name,
    async drop() {
      await server.query(`drop database if exists ${name} with (force)`);
      await server.close();
    },
  };
}

/** Copies the template for one simulation. */
export async function createSimDatabase(
  serverUrl: string,
  template: SimTemplate,
  timeline: Timeline,
  trace: Trace,
  edits: StatementEdits = [],
): Promise<SimDatabase> {
  const name = `${template.name}_${randomBytes(4).toString("hex")}`;
  const server = admin(serverUrl);
  await server.query(`create database ${name} template ${template.name} strategy file_copy`);
  // Settings of a database do not travel with a copy of it.
  await server.query(`alter database ${name} set search_path = public, pg_catalog`);
  await server.query(`alter database ${name} set deadlock_timeout = '10ms'`);
  const lanes = createLanes(databaseUrl(serverUrl, name), (run) => void timeline.after(0, run));
  const database = new Database(lanes, timeline, trace, edits);
  database.onClose = async () => {
    await lanes.close();
    await server.query(`drop database if exists ${name} with (force)`);
    await server.close();
  };
  return database;
}

class Database implements SimDatabase, PoolGround {
  readonly cutOff = new Set<string>();
  aheadMs = 0;
  answersToLose = 0;
  afterNextWrite: (() => void) | undefined;
  slowestMs = 1.5;
  onClose: () => Promise<void> = () => Promise.resolve();
  readonly lanes: Lanes;
  readonly timeline: Timeline;
  readonly trace: Trace;
  readonly open = new Map<Lane, () => Promise<void>>();
  readonly #edits: StatementEdits;
  #statements = 0;
  #isDown = false;

  constructor(lanes: Lanes, timeline: Timeline, trace: Trace, edits: StatementEdits) {
    this.lanes = lanes;
    this.timeline = timeline;
    this.trace = trace;
    this.#edits = edits;
  }

  connect(process: SimProcess, seed: number): Db {
    return createPool(this, process, seededRandom(seed));
  }

  async read(text: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]> {
    return (await this.lanes.admin(text, values)).rows;
  }

  async foreignInstants(): Promise<string[]> {
    const columns = await this.read(INSTANTS);
    const looks = columns.map(
      ({ place, tab, col }) =>
        `select '${String(place)}' as place from ${String(tab)}
         where abs(extract(epoch from ${String(col)}) * 1000 - $1) > $2 limit 1`,
    );
    const about = [EPOCH_MS + this.timeline.now(), this.timeline.now() + CLOCKS_APART_MS];
    const found = await this.read(looks.map((look) => `(${look})`).join(" union all "), about);
    return found.map(({ place }) => String(place));
  }

  statements(): number {
    return this.#statements;
  }

  openTransactions(): number {
    return this.open.size + this.lanes.waiting();
  }

  async close(): Promise<void> {
    await this.onClose();
  }

  takeDown(): void {
    this.#isDown = true;
    for (const end of this.open.values()) this.timeline.after(0, end);
  }

  bringUp(): void {
    this.#isDown = false;
  }

  isReachedBy(process: SimProcess): boolean {
    return !this.#isDown && !this.cutOff.has(process.name);
  }

  /** Tells a connection what time it is, if that is news to it; with a transaction's begin at once. */
  async tellNow(lane: Lane): Promise<void> {
    const now = this.#now();
    if (lane.toldNow === now) return;
    this.#statements += 1;
    await lane.db.query(TELL_NOW, [now]);
    lane.toldNow = now;
  }

  /** The text of a `begin` that tells the time as well. */
  beginText(lane: Lane): string {
    const now = this.#now();
    if (lane.toldNow === now) return "begin";
    // Should it be rolled back, so is this.
    lane.toldNow = undefined;
    return `begin; set sim.now = '${now}'`;
  }

  /** The database's clock goes in small steps: telling it costs as much as a statement. */
  #now(): string {
    const stepped = Math.floor(this.timeline.now() / CLOCK_STEP_MS) * CLOCK_STEP_MS;
    return new Date(EPOCH_MS + stepped + Math.round(this.aheadMs)).toISOString();
  }

  async run(
    lane: Lane,
    text: string | Statement,
    values: readonly unknown[] | undefined,
    onDone: (result: StatementResult) => void,
  ): Promise<void> {
    this.#statements += 1;
    await this.lanes.run(lane, this.#edited(text), values, onDone);
  }

  #edited(text: string | Statement): string | Statement {
    if (this.#edits.length === 0) return text;
    const isNamed = typeof text !== "string";
    const before = isNamed ? text.text : text;
    let after = before;
    for (const { of, from, to } of this.#edits) {
      if (isNamed ? text.name !== of : !text.includes(of)) continue;
      if (!before.includes(from)) throw new Error(`${of} has no "${from}" any more`);
      after = after.replace(from, to);
    }
    if (after === before) return text;
    return isNamed ? { name: `${text.name}.edited`, text: after } : after;
  }
}

const TELL_NOW = { name: "sim.tell_now", text: "select set_config('sim.now', $1, false)" };

/** Every column of instants, but for the migrations' own. */
const INSTANTS = `
  select format('%s.%s', table_name, column_name) as place, quote_ident(table_name) as tab,
    quote_ident(column_name) as col
  from information_schema.columns
  where table_schema = 'public' and data_type = 'timestamp with time zone'
    and table_name <> 'schema_migrations'`;
/** Further than this no fault and no skew sets a clock. */
const CLOCKS_APART_MS = 3 * 60 * 60 * 1000;

/** Of the database's clock. */
const CLOCK_STEP_MS = 25;
