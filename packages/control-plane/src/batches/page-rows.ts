import {
  jobChangesSchema,
  PAGE_STATUSES,
  type ImageError,
  type JobChanges,
  type PageStatus,
} from "@holdfast/contract";
import { z } from "zod";
import {
  imageErrorsSchema,
  troubleSchema,
  variableValueSchema,
  type ReleasedPage,
  type StoredTrouble,
  type VariableValue,
} from "./model.ts";

/** A page as callers see it, before it is put in the words of the wire. Instants in epoch ms. */
export interface PageFacts {
  readonly page: number;
  readonly name: string | null;
  readonly state: PageStatus;
  readonly version: number;
  readonly graphNo: number;
  readonly overrides: Readonly<Record<string, unknown>>;
  readonly variables: ReadonlyMap<string, VariableValue>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly trouble: StoredTrouble | null;
  readonly madeBy: string;
  readonly madeAt: number;
  readonly jobId: string | null;
  readonly retryCount: number;
  readonly retryAt: number | null;
  readonly lastAttemptedAt: number | null;
  readonly imageErrors: readonly ImageError[];
  /** Of attempts that are over. */
  readonly promptIds: readonly string[];
  /** Of the present job, as long as it is there. */
  readonly livePromptIds: readonly string[];
  /** Of earlier versions. */
  readonly earlierJobIds: readonly string[];
  /** What recovery changed in the graph it renders with, or was rendered with. */
  readonly changes: JobChanges | null;
  /** Why its job waits, where it does. */
  readonly jobWaitingReason: string | null;
}

/** A row of {@link PAGE_COLUMNS}. */
export interface PageRow {
  readonly page: number;
  readonly name: string | null;
  readonly state: string;
  readonly version: number;
  readonly graph_no: number;
  readonly overrides: Record<string, unknown>;
  readonly variables: Record<string, unknown>;
  readonly metadata: Record<string, unknown>;
  readonly trouble: unknown;
  readonly made_by: string;
  readonly made_at: number;
  readonly job_id: string | null;
  readonly retry_count: number;
  readonly retry_at: number | null;
  readonly last_attempted_at: number | null;
  readonly image_errors: unknown;
  readonly prompt_ids: string[];
  readonly live_prompt_ids: string[] | null;
  readonly earlier_job_ids: string[] | null;
  readonly job_waiting_reason: string | null;
  readonly changes_now: unknown;
}

/** What a page `p` is shown by, its job looked up where there is one. */
export const PAGE_COLUMNS = `p.*,
  (select array_agg(a.prompt_id order by a.number) from attempts a where a.job_id = p.job_id)
    as live_prompt_ids,
  (select array_agg(v.job_id order by v.version) from book_page_versions v
   where p.version > 1 and v.batch_id = p.batch_id and v.page = p.page and v.job_id is not null)
    as earlier_job_ids,
  (select coalesce(j.waiting_reason, r.waiting_reason)
   from jobs j left join requirements r on r.id = j.requirement_id and j.state = 'queued'
   where p.state = 'rendering' and j.id = p.job_id) as job_waiting_reason,
  case p.state
    when 'rendering' then (select j.plan->'changes' from jobs j where j.id = p.job_id)
    -- Its next round begins with its own graph.
    when 'pending' then null
    else p.changes end as changes_now`;

const stateSchema = z.enum(PAGE_STATUSES);

/** A page's row as a domain value. Throws when a JSON column does not hold what this code writes. */
export function toPageFacts(row: PageRow): PageFacts {
  return {
    page: row.page,
    name: row.name,
    state: stateSchema.parse(row.state),
    version: row.version,
    graphNo: row.graph_no,
    overrides: row.overrides,
    variables: toVariables(row.variables),
    metadata: row.metadata,
    trouble: toTrouble(row.trouble),
    madeBy: row.made_by,
    madeAt: row.made_at,
    jobId: row.job_id,
    retryCount: row.retry_count,
    retryAt: row.retry_at,
    lastAttemptedAt: row.last_attempted_at,
    imageErrors: imageErrorsSchema.parse(row.image_errors),
    promptIds: row.prompt_ids,
    livePromptIds: row.live_prompt_ids ?? [],
    earlierJobIds: row.earlier_job_ids ?? [],
    changes: toChanges(row.changes_now),
    jobWaitingReason: row.job_waiting_reason,
  };
}

function toVariables(values: Record<string, unknown>): ReadonlyMap<string, VariableValue> {
  const entries = Object.entries(values);
  return new Map(entries.map(([name, value]) => [name, variableValueSchema.parse(value)]));
}

function toTrouble(value: unknown): StoredTrouble | null {
  return value === null ? null : troubleSchema.parse(value);
}

/** What the JSON columns of changes hold. */
export function toChanges(value: unknown): JobChanges | null {
  return value === null ? null : jobChangesSchema.parse(value);
}

/** What a page is given out by. */
export const RELEASED_COLUMNS = `p.batch_id, p.page, p.version, p.name, p.graph_no, p.overrides,
  p.metadata, p.trouble, p.job_id, p.settled_round, p.retry_count, p.image_errors`;

/** A row of {@link RELEASED_COLUMNS}. */
export interface ReleasedRow extends Pick<
  PageRow,
  | "page"
  | "version"
  | "name"
  | "graph_no"
  | "overrides"
  | "metadata"
  | "trouble"
  | "job_id"
  | "retry_count"
  | "image_errors"
> {
  readonly batch_id: string;
  readonly settled_round: number;
}

/** Such a row as a domain value. */
export function toReleasedPage(row: ReleasedRow): ReleasedPage {
  return {
    batchId: row.batch_id,
    page: row.page,
    version: row.version,
    name: row.name,
    graphNo: row.graph_no,
    overrides: row.overrides,
    metadata: row.metadata,
    trouble: toTrouble(row.trouble),
    jobId: row.job_id,
    settledRound: row.settled_round,
    retryCount: row.retry_count,
    imageErrors: imageErrorsSchema.parse(row.image_errors),
  };
}
