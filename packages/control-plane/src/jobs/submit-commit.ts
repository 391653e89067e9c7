/**
 * Writing submits: many callers' jobs in one transaction.
 *
 * I1 A submit is written whole or not at all, with its idempotency key.
 * I2 Nothing learned inside a transaction is remembered before it has committed.
 * I3 What is wrong with one submit fails that one alone.
 */
import { invariant, type Clock } from "@holdfast/runtime";
import type { Db, Queryable } from "../platform/db.ts";
import { isConnectionFailure, sqlState } from "../platform/db-errors.ts";
import { createGroupCommit } from "../platform/group-commit.ts";
import { assignRanks } from "./fair-rank.ts";
import { createKnownIds } from "./known-ids.ts";
import type { JobInput } from "./model.ts";
import type { QueueGauge } from "./queue-gauge.ts";
import { takeKeys } from "./submit-keys.ts";
import * as store from "./submit-store.ts";
import type { PlannedJob } from "./submission.ts";

/** A job ready to be written: planned, its files found, its ids made. */
export interface PreparedJob {
  readonly id: string;
  readonly plan: PlannedJob;
  readonly inputs: readonly JobInput[];
  readonly queuedEventId: string;
  readonly heldEventId: string;
}

/** One caller's submit. */
export interface PreparedSubmit {
  readonly owner: string;
  readonly jobs: readonly PreparedJob[];
  readonly idempotency: { readonly key: string; readonly requestHash: string } | null;
}

/** A job that was written, and the requirement it waits under. */
export interface WrittenJob extends store.InsertedJob {
  readonly graphId: number;
  readonly requirementId: number;
}

/** What became of a submit. */
export type Commit =
  | { readonly kind: "created"; readonly jobs: readonly WrittenJob[] }
  /** The key was used before: nothing was written; these are the jobs of that time. */
  | { readonly kind: "repeated"; readonly requestHash: string; readonly jobIds: readonly string[] };

/** Templates and requirements whose ids are remembered. */
const KNOWN_IDS = 20_000;
/**
 * Submits in one transaction at most, and how many may wait for one. One at a time: two of the same
 * caller would wait for one another at the row of its rank, and what waits makes the next group.
 */
const SMALL_LANE = {
  maxBatch: 200,
  maxWaiting: 5_000,
  maxConcurrent: 1,
  rest: { minMs: 0, maxMs: 20 },
};
/** Submits of more jobs than this go one by one, so that small ones do not wait for them. */
const SMALL_SUBMIT_JOBS = 20;
const LARGE_LANE = { maxBatch: 1, maxWaiting: 100 };
/** How often a row is stored that is removed again before it can be locked. */
const STORE_TRIES = 5;
/** Postgres says: the row that a foreign key names is not there. */
const FOREIGN_KEY_VIOLATION = "23503";

/** Writes submits. */
export interface SubmitCommit {
  /** Resolves when the submit is on disk. Rejects with `overloaded` when too many wait. */
  add(submit: PreparedSubmit): Promise<Commit>;
  /** Resolves when nothing waits and nothing is being written. */
  drain(): Promise<void>;
}

/** Makes the group commit of submits. */
export function createSubmitCommit(db: Db, clock: Clock, gauge: QueueGauge): SubmitCommit {
  const graphIds = createKnownIds(KNOWN_IDS);
  const requirementIds = createKnownIds(KNOWN_IDS);

  const flush = async (submits: readonly PreparedSubmit[]): Promise<readonly Commit[]> => {
    const owners = [...new Set(submits.map((submit) => submit.owner))];
    const standings = await gauge.standings(owners);
    const learned = await write(db, submits, {
      graphs: rememberedIds(
        submits.flatMap(({ jobs }) => jobs.map(({ plan }) => plan.graphHash)),
        graphIds,
      ),
      requirements: rememberedIds(
        submits.flatMap(({ jobs }) => jobs.map(({ plan }) => plan.requirementHash)),
        requirementIds,
      ),
      rank: (jobs) => assignRanks(jobs, standings, (priority) => gauge.virtualTime(priority)),
    });
    for (const [hash, id] of learned.graphs) graphIds.set(hash, id); // I2
    for (const [hash, id] of learned.requirements) requirementIds.set(hash, id);
    for (const [index, commit] of learned.commits.entries()) {
      const owner = submits[index]?.owner;
      if (owner === undefined || commit.kind !== "created") continue;
      for (const job of commit.jobs) gauge.noteRank(owner, job.lastRank);
    }
    return learned.commits;
  };

  const flushSafely = async (
    submits: readonly PreparedSubmit[],
  ): Promise<readonly (Commit | Error)[]> => {
    try {
      return await flush(submits);
    } catch (error) {
      // Whether it was committed is unknown: written again, the same ids would be refused.
      if (isConnectionFailure(error)) return submits.map(() => error as Error);
      if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error;
      // Rows that we remembered were removed since: read them anew, once.
      graphIds.clear();
      requirementIds.clear();
      return await flush(submits);
    }
  };

  const lane = { clock, retrySingly: true, flush: flushSafely }; // I3
  const small = createGroupCommit({ ...lane, ...SMALL_LANE });
  const large = createGroupCommit({ ...lane, ...LARGE_LANE });
  return {
    add: (submit) => (submit.jobs.length > SMALL_SUBMIT_JOBS ? large : small).add(submit),
    async drain() {
      await Promise.all([small.drain(), large.drain()]);
    },
  };
}

function rememberedIds(
  hashes: readonly string[],
  ids: { get(hash: string): number | undefined },
): Map<string, number | undefined> {
  return new Map(hashes.map((hash) => [hash, ids.get(hash)]));
}

interface WriteFacts {
  /** Ids by hash of everything these submits name; undefined where they are not known yet. */
  readonly graphs: ReadonlyMap<string, number | undefined>;
  readonly requirements: ReadonlyMap<string, number | undefined>;
  readonly rank: (
    jobs: readonly { readonly owner: string; readonly priority: number }[],
  ) => number[];
}

interface Written {
  readonly commits: readonly Commit[];
  readonly graphs: ReadonlyMap<string, number>;
  readonly requirements: ReadonlyMap<string, number>;
}

/** One statement where it can be, which needs no transaction around it; else all in one transaction. */
async function write(
  db: Db,
  submits: readonly PreparedSubmit[],
  facts: WriteFacts,
): Promise<Written> {
  const isPlain =
    submits.every((submit) => submit.idempotency === null) &&
    !hasUnknown(facts.graphs) &&
    !hasUnknown(facts.requirements);
  return isPlain
    ? await writeIn(db, submits, facts)
    : await db.transaction((tx) => writeIn(tx, submits, facts));
}

function hasUnknown(ids: ReadonlyMap<string, number | undefined>): boolean {
  return [...ids.values()].includes(undefined);
}

async function writeIn(
  tx: Queryable,
  submits: readonly PreparedSubmit[],
  facts: WriteFacts,
): Promise<Written> {
  const repeats = await findRepeats(tx, submits);
  const fresh = submits.filter((submit) => !repeats.has(submit));
  const graphs = await resolveGraphs(tx, fresh, facts.graphs);
  const requirements = await resolveRequirements(tx, fresh, facts.requirements);
  const ranks = facts.rank(
    fresh.flatMap(({ owner, jobs }) =>
      jobs.map(({ plan }) => ({ owner, priority: plan.priority })),
    ),
  );
  let place = 0;
  const rows = fresh.flatMap(({ owner, jobs }) =>
    jobs.map((job): store.NewJob => {
      const rank = ranks[place];
      place += 1;
      const graphId = graphs.get(job.plan.graphHash);
      const requirementId = requirements.get(job.plan.requirementHash);
      invariant(
        rank !== undefined && graphId !== undefined && requirementId !== undefined,
        "every job to insert has a rank, a graph and a requirement",
      );
      return { ...job, owner, rank, graphId, requirementId };
    }),
  );
  const inserted = new Map(
    rows.length === 0 ? [] : (await store.insertJobs(tx, rows)).map((job) => [job.id, job]),
  );
  const commits = submits.map(
    (submit): Commit =>
      repeats.get(submit) ?? {
        kind: "created",
        jobs: submit.jobs.map((job) => {
          const row = inserted.get(job.id);
          const graphId = graphs.get(job.plan.graphHash);
          const requirementId = requirements.get(job.plan.requirementHash);
          invariant(
            row !== undefined && graphId !== undefined && requirementId !== undefined,
            "every job of a submit was inserted",
          );
          return { ...row, graphId, requirementId };
        }),
      },
  );
  return { commits, graphs, requirements };
}

/** Takes the keys of these submits; those whose key was used before come back with what it holds. */
async function findRepeats(
  tx: Queryable,
  submits: readonly PreparedSubmit[],
): Promise<ReadonlyMap<PreparedSubmit, Commit>> {
  const keyed = submits.flatMap((submit) =>
    submit.idempotency === null ? [] : [{ submit, ...submit.idempotency }],
  );
  const holders = await takeKeys(
    tx,
    keyed.map(({ submit, key, requestHash }) => ({
      owner: submit.owner,
      key,
      requestHash,
      jobIds: submit.jobs.map((job) => job.id),
    })),
  );
  const repeats = new Map<PreparedSubmit, Commit>();
  for (const [index, { submit }] of keyed.entries()) {
    const holder = holders[index] ?? null;
    if (holder === null) continue;
    const { requestHash, jobIds } = holder;
    repeats.set(submit, { kind: "repeated", requestHash, jobIds });
  }
  return repeats;
}

async function resolveGraphs(
  tx: Queryable,
  submits: readonly PreparedSubmit[],
  ids: ReadonlyMap<string, number | undefined>,
): Promise<ReadonlyMap<string, number>> {
  const missing = new Map<string, store.NewGraph>();
  for (const { plan } of submits.flatMap(({ jobs }) => jobs)) {
    if (ids.get(plan.graphHash) !== undefined) continue;
    missing.set(plan.graphHash, {
      hash: plan.graphHash,
      body: plan.templateJson,
      nodeCount: plan.nodeCount,
      sizeBytes: Buffer.byteLength(plan.templateJson),
    });
  }
  return await withStored(ids, missing, {
    insert: (graphs) => store.insertGraphs(tx, graphs),
    read: (hashes) => store.readGraphIds(tx, hashes),
  });
}

async function resolveRequirements(
  tx: Queryable,
  submits: readonly PreparedSubmit[],
  ids: ReadonlyMap<string, number | undefined>,
): Promise<ReadonlyMap<string, number>> {
  const missing = new Map<string, store.NewRequirement>();
  for (const { plan } of submits.flatMap(({ jobs }) => jobs)) {
    if (ids.get(plan.requirementHash) !== undefined) continue;
    missing.set(plan.requirementHash, { hash: plan.requirementHash, needs: plan.needs });
  }
  return await withStored(ids, missing, {
    insert: (requirements) => store.insertRequirements(tx, requirements),
    read: (hashes) => store.readRequirementIds(tx, hashes),
  });
}

/** The ids that are known, and those of rows that are not: stored where they are missing. */
async function withStored<Row>(
  ids: ReadonlyMap<string, number | undefined>,
  missing: Map<string, Row>,
  store: {
    readonly insert: (rows: readonly Row[]) => Promise<void>;
    readonly read: (hashes: readonly string[]) => Promise<ReadonlyMap<string, number>>;
  },
): Promise<ReadonlyMap<string, number>> {
  const all = new Map<string, number>();
  for (const [hash, id] of ids) if (id !== undefined) all.set(hash, id);
  // A row that was there at the insert may have been removed before it was read and locked.
  for (let attempt = 0; attempt < STORE_TRIES && missing.size > 0; attempt += 1) {
    await store.insert([...missing.values()]);
    for (const [hash, id] of await store.read([...missing.keys()])) {
      all.set(hash, id);
      missing.delete(hash);
    }
  }
  return all;
}
