import type { IdSource } from "@holdfast/runtime";
import type { Queryable } from "../src/platform/db.ts";

/** Puts a job straight into the table, with a graph and a requirement of its own. Returns its id. */
export async function insertQueuedJob(
  db: Queryable,
  ids: IdSource,
  job: { readonly owner: string; readonly inputs?: unknown[]; readonly webhook?: unknown },
): Promise<string> {
  const id = ids.next("job");
  await db.query(
    `with r as (insert into requirements (hash, needs) values ($1, '{}') returning id),
       g as (insert into graphs (hash, body, node_count, size_bytes) values ($1, '{}', 1, 2) returning id)
     insert into jobs
       (id, owner, state, rank, requirement_id, graph_id, timeout_ms, inputs, webhook)
     select $1, $2, 'queued', 1, r.id, g.id, 1000, $3, $4 from r, g`,
    [
      id,
      job.owner,
      JSON.stringify(job.inputs ?? []),
      job.webhook === undefined ? null : JSON.stringify(job.webhook),
    ],
  );
  return id;
}
