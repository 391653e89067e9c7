/** What the database tests of jobs share: callers, graphs, fake ports, and attempts by hand. */
import { HoldfastError, isHoldfastError, type ErrorCode, type SubmitJob } from "@holdfast/contract";
import { createIdSource, seededRandom, type IdSource } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { Caller } from "../src/access/model.ts";
import type { JobsPorts } from "../src/jobs/ports.ts";
import type { EndedState, JobRetention } from "../src/jobs/retention.ts";
import { createJobsService, type JobsService } from "../src/jobs/service.ts";
import type { Db, Queryable } from "../src/platform/db.ts";

export const ANN: Caller = { id: "key_ann", role: "user", allowedClasses: null };
export const BOB: Caller = { id: "key_bob", role: "user", allowedClasses: null };
export const ROOT: Caller = { id: "local", role: "admin", allowedClasses: null };

/** Jobs on a test database, with ports that remember what they were told. */
export interface JobsKit {
  readonly told: { queued: number; revoked: string[] };
  /** Names of uploaded files and their hashes. */
  readonly uploaded: Map<string, string>;
  readonly makeJobs: (options?: {
    readonly maxQueuedJobs?: number;
    readonly ports?: Partial<JobsPorts>;
    readonly ids?: IdSource;
    readonly retention?: JobRetention;
    /** Instead of the kit's own database. */
    readonly on?: Db;
  }) => JobsService;
  /** Submits one job and gives its id. */
  readonly one: (jobs: JobsService, caller: Caller, more?: Partial<SubmitJob>) => Promise<string>;
  /** Puts a job into `processing` with a lease, as a claim does. */
  readonly startAttempt: (jobId: string, machineId?: string, on?: Queryable) => Promise<void>;
  /** Ends a running attempt and its job under the lease's epoch; gives how many attempts it ended. */
  readonly endAttempt: (jobId: string, state: "completed" | "failed") => Promise<number>;
  /** Jobs that ended some hours ago, each with an attempt and an output; gives their ids. */
  readonly endedJobs: (
    jobs: JobsService,
    count: number,
    end: { readonly state?: EndedState; readonly hoursAgo: number },
  ) => Promise<string[]>;
}

/** Makes a kit; `db` is asked anew each time, so that it may be opened later. */
export function createJobsKit(db: () => Db): JobsKit {
  const told = { queued: 0, revoked: [] as string[] };
  const uploaded = new Map<string, string>();
  let seed = 1;
  const ports: JobsPorts = {
    resolveInputs: (_db, _owner, names) => {
      const missing = names.filter((name) => !uploaded.has(name));
      const inputs = names.map((name) => ({
        name,
        sha256: uploaded.get(name) ?? "",
        sizeBytes: 1,
      }));
      return Promise.resolve(
        missing.length > 0 ? { kind: "missing", names: missing } : { kind: "found", inputs },
      );
    },
    validateStrictly: () => Promise.resolve({ kind: "valid" }),
    declaredOutputs: () => Promise.resolve(undefined),
    checkWebhookUrl: (url) =>
      url.includes("127.0.0.1")
        ? Promise.reject(new HoldfastError("url_forbidden", "the URL is private"))
        : Promise.resolve(),
    onQueued: (requirements) => void (told.queued += requirements.length),
    onRevoked: (ids) => void told.revoked.push(...ids),
    onEvents: () => undefined,
    expectations: () => Promise.resolve(new Map()),
    fleetNumbers: () =>
      Promise.resolve({
        instances: { total: 1, healthy: 1, busy: 0 },
        machines: { total: 1, online: 1 },
      }),
  };
  return {
    told,
    uploaded,
    makeJobs: ({ ports: own, on, ...rest } = {}) =>
      createJobsService({
        db: on ?? db(),
        clock: systemClock,
        ids: createIdSource(systemClock, seededRandom((seed += 1))),
        ports: { ...ports, ...own },
        ...rest,
      }),
    async one(jobs, caller, more = {}) {
      const { jobs: made } = await jobs.submit(caller, [{ graph: graph(), ...more }]);
      return made[0]?.job.id ?? "";
    },
    async startAttempt(jobId, machineId = "mch_1", on = db()) {
      await on.query(
        `with c as (
           update jobs set state = 'processing', lease_epoch = lease_epoch + 1,
             attempt_count = attempt_count + 1, started_at = now() where id = $1 returning *
         ), a as (
           insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id,
             instance_id, prompt_id)
           select 'att_' || id || attempt_count, id, attempt_count, round, lease_epoch, lineage, $2,
             'ins_1', gen_random_uuid()::text from c
         )
         insert into leases (job_id, lease_epoch, attempt_id, instance_id, machine_id, lease_until)
         select id, lease_epoch, 'att_' || id || attempt_count, 'ins_1', $2,
           now() + interval '1 minute'
         from c`,
        [jobId, machineId],
      );
    },
    async endAttempt(jobId, state) {
      const { rowCount } = await db().query(
        `with j as (
           update jobs set state = $2, ended_at = now(), lease_epoch = lease_epoch + 1
           where id = $1 and state = 'processing' and lease_epoch = (
             select lease_epoch from leases where job_id = $1)
           returning id
         ), l as (delete from leases where job_id in (select id from j) returning attempt_id)
         update attempts set outcome = 'succeeded', ended_at = now()
         where id in (select attempt_id from l)`,
        [jobId, state],
      );
      return rowCount;
    },
    async endedJobs(jobs, count, { state = "completed", hoursAgo }) {
      const requests = Array.from({ length: count }, () => ({ graph: graph() }));
      const { jobs: made } = await jobs.submit(ANN, requests);
      const ids = made.map(({ job }) => job.id);
      await db().query(
        `with b as (insert into blobs (sha256, size_bytes) values ('shared', 1) on conflict do nothing),
         j as (
           update jobs set state = $2, attempt_count = 1, output_count = 1,
             ended_at = now() - make_interval(secs => $3::float8 * 3600)
           where id = any($1::text[]) returning *
         ), a as (
           insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id,
             instance_id, prompt_id, outcome, ended_at)
           select 'att_' || id, id, 1, 1, 1, 1, 'mch_1', 'ins_1', gen_random_uuid()::text, 'failed',
             ended_at
           from j
         )
         insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name,
           media_type, size_bytes, sha256, temporary)
         select 'out_' || id, id, 'att_' || id, 1, '3', 0, 'image', 'a.png', 'image/png', 1, 'shared',
           false
         from j`,
        [ids, state, hoursAgo],
      );
      return ids;
    },
  };
}

/** A text-to-image graph; its seed varies, its model makes another requirement. */
export function graph(seed = 1, model = "sd15.safetensors"): SubmitJob["graph"] {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: model } },
    "2": { class_type: "KSampler", inputs: { model: ["1", 0], seed, steps: 20 } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "a" } },
  };
}

/** A graph that reads one uploaded picture. */
export function withImage(name: string): SubmitJob["graph"] {
  return {
    "1": { class_type: "LoadImage", inputs: { image: name } },
    "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
  };
}

/** The code that a call is refused with; undefined when it was not. */
export async function refusal(promise: Promise<unknown>): Promise<ErrorCode | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
}
