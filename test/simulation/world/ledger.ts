/**
 * The promises, held against every change that the database went through. Written from the documents
 * (README P1–P8, the state diagrams of docs/architecture.md), not from the code.
 *
 * S1  (P1) A job goes only from states to states that the diagram has; one that has ended moves only
 *     by a retry by hand, which opens the next round.
 * S2  (P2) The epoch never falls; it grows whenever a job is taken, and whenever it leaves its holder
 *     otherwise than by being completed.
 * S3  (P2) A job has at most one open attempt, the newest, and it has it exactly while it is
 *     processing, with a lease of the same epoch and attempt.
 * S4  (P2) An attempt ends once. Only a lost lease may be taken up again.
 * S5  (P2) A round is completed at most once, and by its newest attempt.
 * S6  (P3) A completed job has an output of every node it promised, and the store has all its bytes.
 * S7  (P5) What a job's failures have used up is the number of its attempts of this round that failed
 *     by themselves; the end may add one.
 * S8  (P5) Two instances that died make a job poison, nothing else does, and poison stays.
 * S9  (P5) A job fails only after a failure of its own, as poison, or after 50 free returns.
 * S10 (P6) Retries have a limit: 10 recoveries and 50 free returns in a round.
 * S11 Every end of a job is told by exactly one event, in the transaction that makes it.
 */
import type { Change } from "./journal.ts";

/** A broken promise. */
export interface Violation {
  readonly rule: string;
  readonly what: string;
}

interface Job {
  readonly id: string;
  readonly state: string;
  readonly held: boolean;
  readonly poison: boolean;
  readonly round: number;
  readonly lineage: number;
  readonly epoch: number;
  readonly attemptCount: number;
  readonly failureCount: number;
  readonly deadInstances: readonly string[];
  readonly promised: readonly string[];
  readonly outputCount: number;
}

/** One attempt, as the database has it. */
export interface LedgerAttempt {
  readonly id: string;
  readonly jobId: string;
  readonly number: number;
  readonly round: number;
  readonly epoch: number;
  readonly instanceId: string;
  readonly promptId: string;
  readonly started: boolean;
  readonly outcome: string | null;
}

/** One output, as the database has it. */
export interface LedgerOutput {
  readonly jobId: string;
  readonly lineage: number;
  readonly nodeId: string;
  readonly ordinal: number;
  readonly sha256: string;
  readonly sizeBytes: number;
}

interface Lease {
  readonly epoch: number;
  readonly attemptId: string;
}

/** What became of a job, for the summary and for the checks at the end. */
export interface JobFate {
  readonly id: string;
  readonly state: string;
  readonly poison: boolean;
  readonly attempts: readonly LedgerAttempt[];
  readonly outputs: readonly LedgerOutput[];
}

/** See the header. */
export interface Ledger {
  /** Takes in changes in their order; gives what they break. */
  take(changes: readonly Change[]): readonly Violation[];
  has(jobId: string): boolean;
  fate(jobId: string): JobFate | undefined;
  fates(): readonly JobFate[];
  openLeases(): number;
  /** Attempts that went on after their lease had been lost. */
  takenUpAgain(): number;
}

const NEXT: Readonly<Record<string, readonly string[]>> = {
  queued: ["processing", "cancelled"],
  processing: ["completed", "queued", "recovering", "failed", "timeout", "cancelled"],
  recovering: ["queued", "processing", "cancelled"],
  completed: ["queued"],
  failed: ["queued"],
  timeout: ["queued"],
  cancelled: ["queued"],
};
const ENDS: ReadonlySet<string> = new Set(["completed", "failed", "timeout", "cancelled"]);
const END_EVENTS: Readonly<Record<string, string>> = {
  completed: "job.completed",
  failed: "job.failed",
  timeout: "job.timeout",
  cancelled: "job.cancelled",
};
const RECOVERIES_MAX = 10;
const FREE_RETURNS_MAX = 50;
const POISON_DEATHS = 2;

/** Makes an empty ledger. `bytesOf`: how many bytes the store has under a hash, if any. */
export function createLedger(bytesOf: (sha256: string) => number | undefined): Ledger {
  const jobs = new Map<string, Job>();
  const attempts = new Map<string, Map<string, LedgerAttempt>>();
  const outputs = new Map<string, LedgerOutput[]>();
  const leases = new Map<string, Lease>();
  const prompts = new Map<string, string>();
  let found: Violation[] = [];
  let takenUpAgain = 0;

  const bad = (rule: string, jobId: string, what: string): void => {
    const job = jobs.get(jobId);
    const where =
      job === undefined ? "" : ` (${job.state}, round ${job.round}, epoch ${job.epoch})`;
    found.push({ rule, what: `${jobId}${where}: ${what}` });
  };
  const attemptsOf = (jobId: string): LedgerAttempt[] => [...(attempts.get(jobId)?.values() ?? [])];

  const onJob = (before: Job | undefined, after: Job, events: readonly string[]): void => {
    jobs.set(after.id, after);
    const ends = events.filter((type) => Object.values(END_EVENTS).includes(type));
    if (before === undefined) {
      if (after.state !== "queued") bad("S1", after.id, `was made ${after.state}`);
      return;
    }
    if (after.epoch < before.epoch) bad("S2", after.id, `the epoch fell from ${before.epoch}`);
    const isMoved = after.state !== before.state;
    if (!isMoved) {
      if (ends.length > 0) bad("S11", after.id, `${ends.join()} without an end`);
      if (ENDS.has(after.state) && after.epoch !== before.epoch) {
        bad("S1", after.id, "changed after its end");
      }
      return;
    }
    if (NEXT[before.state]?.includes(after.state) !== true) {
      bad("S1", after.id, `went from ${before.state} to ${after.state}`);
    }
    if (ENDS.has(before.state) !== (after.round !== before.round)) {
      bad("S1", after.id, `round ${before.round} became ${after.round} from ${before.state}`);
    }
    const mustGrow =
      after.state === "processing" ||
      (before.state === "processing" && after.state !== "completed");
    if (mustGrow && after.epoch <= before.epoch) {
      bad("S2", after.id, `the epoch stayed ${after.epoch} from ${before.state}`);
    }
    const due = END_EVENTS[after.state];
    if (ends.join() !== (due ?? "")) {
      bad("S11", after.id, `told [${ends.join()}], expected [${due ?? ""}]`);
    }
    if (before.poison && !after.poison && after.round === before.round) {
      bad("S8", after.id, "poison went away by itself");
    }
    if (after.state === "completed") onCompleted(after);
    if (after.state === "failed" || after.state === "timeout") onFailed(after);
  };

  const onCompleted = (job: Job): void => {
    const round = attemptsOf(job.id).filter((attempt) => attempt.round === job.round);
    const winners = round.filter((attempt) => attempt.outcome === "succeeded");
    if (winners.length !== 1) bad("S5", job.id, `${winners.length} attempts succeeded`);
    if (winners[0] !== undefined && winners[0].number !== job.attemptCount) {
      bad("S5", job.id, `attempt ${winners[0].number} of ${job.attemptCount} completed it`);
    }
    const own = (outputs.get(job.id) ?? []).filter((output) => output.lineage === job.lineage);
    for (const nodeId of job.promised) {
      if (!own.some((output) => output.nodeId === nodeId)) {
        bad("S6", job.id, `completed without an output of node ${nodeId}`);
      }
    }
    if (own.length !== job.outputCount) {
      bad("S6", job.id, `says ${job.outputCount} outputs and has ${own.length}`);
    }
    for (const output of own) {
      if (bytesOf(output.sha256) !== output.sizeBytes) {
        bad("S6", job.id, `the store lacks the bytes of node ${output.nodeId}`);
      }
    }
  };

  const onFailed = (job: Job): void => {
    const round = attemptsOf(job.id).filter((attempt) => attempt.round === job.round);
    const isOwnFault = round.some(isCostly);
    const isWornOut = round.length > FREE_RETURNS_MAX;
    if (!isOwnFault && !job.poison && !isWornOut) {
      bad("S9", job.id, `${job.state} though nothing of it failed: ${describe(round)}`);
    }
  };

  /** What must hold of a job after every transaction. */
  const settle = (jobId: string): void => {
    const job = jobs.get(jobId);
    if (job === undefined) return;
    const all = attemptsOf(jobId);
    const open = all.filter((attempt) => attempt.outcome === null);
    const lease = leases.get(jobId);
    const isHeld = job.state === "processing";
    if (isHeld) {
      const [one] = open;
      if (open.length !== 1 || one?.number !== job.attemptCount) {
        bad("S3", jobId, `open attempts: ${describe(open)} of ${job.attemptCount}`);
      }
      if (lease?.epoch !== job.epoch || lease.attemptId !== one?.id) {
        bad("S3", jobId, `its lease is ${JSON.stringify(lease)}`);
      }
      if (one !== undefined && one.epoch !== job.epoch) {
        bad("S3", jobId, `its attempt has epoch ${one.epoch}`);
      }
    } else if (open.length > 0 || lease !== undefined) {
      bad("S3", jobId, `open attempts: ${describe(open)}; lease ${JSON.stringify(lease)}`);
    }
    const round = all.filter((attempt) => attempt.round === job.round);
    const costs = round.filter(isCostly).length;
    const isEnded = job.state === "failed" || job.state === "timeout";
    const isRight = job.failureCount === costs || (isEnded && job.failureCount === costs + 1);
    if (!isRight) {
      bad("S7", jobId, `counts ${job.failureCount} failures: ${describe(round)}`);
    }
    const deaths = new Set(job.deadInstances).size;
    const isPoison = deaths >= POISON_DEATHS;
    if (job.poison !== isPoison || (isPoison && job.state !== "failed")) {
      bad("S8", jobId, `${deaths} instances died, poison ${job.poison}`);
    }
    const free = round.filter((attempt) => attempt.outcome !== null && !isCostly(attempt)).length;
    if (costs > RECOVERIES_MAX + 1 || free > FREE_RETURNS_MAX + 2) {
      bad("S10", jobId, `${costs} failures and ${free} free returns`);
    }
  };

  const onAttempt = (before: LedgerAttempt | undefined, after: LedgerAttempt): void => {
    const own = attempts.get(after.jobId) ?? new Map<string, LedgerAttempt>();
    attempts.set(after.jobId, own);
    own.set(after.id, after);
    if (before === undefined) {
      const other = prompts.get(after.promptId);
      if (other !== undefined) bad("S4", after.jobId, `shares its prompt id with ${other}`);
      prompts.set(after.promptId, after.id);
      return;
    }
    if (before.outcome === after.outcome || before.outcome === null) return;
    if (before.outcome === "lease_lost" && after.outcome === null) {
      takenUpAgain += 1;
      return;
    }
    bad("S4", after.jobId, `${after.id} ended ${before.outcome}, then ${String(after.outcome)}`);
  };

  const takeTransaction = (changes: readonly Change[]): void => {
    const events = changes.flatMap(({ table, after }) => (table === "events" ? [after ?? {}] : []));
    for (const { table, before, after } of changes) {
      if (table === "attempts" && after !== null) {
        onAttempt(before === null ? undefined : toAttempt(before), toAttempt(after));
      } else if (table === "leases") {
        const row = (after ?? before) as Record<string, unknown>;
        const jobId = String(row["job_id"]);
        if (after === null) leases.delete(jobId);
        else {
          const attemptId = String(row["attempt_id"]);
          leases.set(jobId, { epoch: Number(row["lease_epoch"]), attemptId });
        }
      } else if (table === "outputs" && after !== null) {
        const output = toOutput(after);
        outputs.set(output.jobId, [...(outputs.get(output.jobId) ?? []), output]);
      }
    }
    const touched = new Set<string>();
    for (const { table, before, after } of changes) {
      const row = (after ?? before) as Record<string, unknown>;
      if (table !== "events") touched.add(String(table === "jobs" ? row["id"] : row["job_id"]));
      if (table !== "jobs" || after === null) continue;
      const job = toJob(after);
      const told = events.filter((event) => event["job_id"] === job.id);
      const types = told.map((event) => String(event["type"]));
      onJob(before === null ? undefined : toJob(before), job, types);
    }
    for (const jobId of touched) settle(jobId);
  };

  return {
    take(changes) {
      found = [];
      const transactions = new Map<string, Change[]>();
      for (const change of changes) {
        const own = transactions.get(change.xid) ?? [];
        own.push(change);
        transactions.set(change.xid, own);
      }
      for (const own of transactions.values()) takeTransaction(own);
      return found;
    },
    has: (jobId) => jobs.has(jobId),
    fate: (jobId) => {
      const job = jobs.get(jobId);
      return job === undefined ? undefined : toFate(job);
    },
    fates: () => [...jobs.values()].map(toFate),
    openLeases: () => leases.size,
    takenUpAgain: () => takenUpAgain,
  };

  function toFate(job: Job): JobFate {
    return {
      id: job.id,
      state: job.state,
      poison: job.poison,
      attempts: attemptsOf(job.id),
      outputs: (outputs.get(job.id) ?? []).filter((output) => output.lineage === job.lineage),
    };
  }
}

/** A failure of the job's own. What had not started when it stalled or died is given back free. */
function isCostly(attempt: LedgerAttempt): boolean {
  if (attempt.outcome === "failed") return true;
  const isOwn = attempt.outcome === "stalled" || attempt.outcome === "instance_died";
  return isOwn && attempt.started;
}

function describe(attempts: readonly LedgerAttempt[]): string {
  return attempts
    .map(({ number, outcome, started }) => `${number}:${outcome ?? "open"}${started ? "+" : ""}`)
    .join(" ");
}

function toJob(row: Readonly<Record<string, unknown>>): Job {
  return {
    id: String(row["id"]),
    state: String(row["state"]),
    held: row["held"] === true,
    poison: row["poison"] === true,
    round: Number(row["round"]),
    lineage: Number(row["lineage"]),
    epoch: Number(row["lease_epoch"]),
    attemptCount: Number(row["attempt_count"]),
    failureCount: Number(row["failure_count"]),
    deadInstances: row["dead_instances"] as string[],
    promised: (row["promised"] as { nodeId: string }[]).map(({ nodeId }) => nodeId),
    outputCount: Number(row["output_count"]),
  };
}

function toAttempt(row: Readonly<Record<string, unknown>>): LedgerAttempt {
  return {
    id: String(row["id"]),
    jobId: String(row["job_id"]),
    number: Number(row["number"]),
    round: Number(row["round"]),
    epoch: Number(row["lease_epoch"]),
    instanceId: String(row["instance_id"]),
    promptId: String(row["prompt_id"]),
    started: row["started"] === true,
    outcome: row["outcome"] === null ? null : String(row["outcome"]),
  };
}

function toOutput(row: Readonly<Record<string, unknown>>): LedgerOutput {
  return {
    jobId: String(row["job_id"]),
    lineage: Number(row["lineage"]),
    nodeId: String(row["node_id"]),
    ordinal: Number(row["ordinal"]),
    sha256: String(row["sha256"]),
    sizeBytes: Number(row["size_bytes"]),
  };
}
