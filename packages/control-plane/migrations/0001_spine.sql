-- The path of one job: graphs, jobs, leases, attempts, outputs; who runs them; what is told of them.
-- Ids are text in byte order ("C"), so that they sort by time. Instants are timestamptz.

-- Callers ---------------------------------------------------------------------------------------

create table api_keys (
  id text collate "C" primary key,
  name text not null,
  role text not null,
  -- SHA-256 of the secret part; the key itself is shown once and never stored.
  secret_hash text not null unique,
  -- Node classes that graphs of this key may use; null allows all.
  allowed_classes text[],
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  constraint api_keys_role_known check (role in ('admin', 'operator', 'user', 'agent'))
);

create table idempotency_keys (
  owner text collate "C" not null,
  key text collate "C" not null,
  request_hash text not null,
  job_ids text[] not null,
  created_at timestamptz not null default now(),
  primary key (owner, key)
);

-- Start-time fair queueing: the rank of a caller's newest job. See jobs.rank.
create table caller_ranks (
  owner text collate "C" primary key,
  last_rank bigint not null
) with (fillfactor = 50);

create table settings (
  key text collate "C" primary key,
  value jsonb not null,
  updated_at timestamptz not null default now()
);

-- Files -----------------------------------------------------------------------------------------

-- Bytes in the file store, by content. A row is written only after the store answered the checksum.
create table blobs (
  sha256 text collate "C" primary key,
  size_bytes bigint not null,
  stored_at timestamptz not null default now(),
  constraint blobs_size_natural check (size_bytes >= 0)
);

-- Input files that callers uploaded; the newest row of a name is the one a graph means.
create table files (
  id text collate "C" primary key,
  owner text collate "C" not null,
  name text collate "C" not null,
  sha256 text collate "C" not null references blobs (sha256),
  media_type text not null,
  created_at timestamptz not null default now(),
  constraint files_name_once unique (owner, name)
);

create index files_by_owner on files (owner, id);
create index files_by_blob on files (sha256);
create index blobs_by_age on blobs (stored_at);

-- What instances can serve ------------------------------------------------------------------------

create table machines (
  id text collate "C" primary key,
  name text not null,
  boot_id text not null,
  -- Grows with every registration: calls of an older agent process are refused.
  session int not null,
  state text not null,
  agent_version text not null,
  last_heartbeat_at timestamptz not null default now(),
  registered_at timestamptz not null default now(),
  constraint machines_state_known check (state in ('online', 'lost'))
) with (fillfactor = 50);

create table inventories (
  digest text collate "C" primary key,
  node_classes text[] not null,
  models jsonb not null,
  comfyui_version text,
  vram_total_bytes bigint,
  device_name text,
  simulated boolean not null,
  object_info json not null,
  created_at timestamptz not null default now()
);

create table instances (
  id text collate "C" primary key,
  machine_id text collate "C" not null references machines (id),
  key text not null,
  name text not null,
  state text not null,
  reason text,
  cordoned boolean not null default false,
  -- False once its agent came back without it.
  declared boolean not null default true,
  inventory_digest text collate "C",
  vram_free_bytes bigint,
  -- The requirement served last: its models are still loaded there.
  last_requirement_id bigint,
  state_since timestamptz not null default now(),
  constraint instances_key_once unique (machine_id, key),
  constraint instances_state_known check (state in ('starting', 'healthy', 'unhealthy', 'stopped'))
) with (fillfactor = 50);

-- Equal needs (models by folder, node classes) share one requirement.
create table requirements (
  id bigint generated always as identity primary key,
  hash text collate "C" not null unique,
  needs jsonb not null,
  -- Why no machine can serve it now, in words for a person; null when one can.
  waiting_reason text,
  created_at timestamptz not null default now()
) with (fillfactor = 70);

-- Jobs --------------------------------------------------------------------------------------------

-- Templates of graphs, by content: 250 jobs that differ in seed share one row and keep a patch each.
-- `json`, not `jsonb`: the order of nodes and the spelling of numbers stay as they came.
create table graphs (
  id bigint generated always as identity primary key,
  hash text collate "C" not null unique,
  body json not null,
  node_count int not null,
  size_bytes int not null,
  created_at timestamptz not null default now()
);

create table jobs (
  id text collate "C" primary key,
  number bigint generated always as identity unique,
  owner text collate "C" not null,
  state text not null,
  held boolean not null default false,
  poison boolean not null default false,
  priority smallint not null default 0,
  -- Place among the queued jobs of equal priority: callers take turns (start-time fair queueing).
  rank bigint not null,
  requirement_id bigint not null references requirements (id),
  graph_id bigint not null references graphs (id),
  -- The caller's values for the template, and later the patch of the recovery plan in force.
  patch jsonb,
  plan jsonb,
  -- Attempts of one lineage give the same pixels; a plan that changes them starts the next.
  lineage int not null default 1,
  round int not null default 1,
  inputs jsonb not null default '[]',
  promised jsonb not null default '[]',
  lease_epoch int not null default 0,
  attempt_count int not null default 0,
  -- Attempts of this round that the job's own failures used up.
  failure_count int not null default 0,
  recovery_count int not null default 0,
  dead_instances text[] not null default '{}',
  avoid_instances text[] not null default '{}',
  -- When a recovering job is queued again.
  run_at timestamptz,
  waiting_reason text,
  timeout_ms int not null,
  execution_ms bigint not null default 0,
  policy jsonb not null default '{}',
  name text,
  tags text[] not null default '{}',
  batch_id text collate "C",
  metadata jsonb not null default '{}',
  webhook jsonb,
  error jsonb,
  output_count int not null default 0,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  ended_at timestamptz,
  constraint jobs_state_known check (
    state in ('queued', 'processing', 'recovering', 'completed', 'failed', 'timeout', 'cancelled')
  ),
  constraint jobs_end_has_instant check (
    (state in ('completed', 'failed', 'timeout', 'cancelled')) = (ended_at is not null)
  ),
  constraint jobs_held_is_queued check (not held or state in ('queued', 'recovering'))
) with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_analyze_scale_factor = 0.02,
  autovacuum_vacuum_cost_delay = 0
);

create index jobs_claim on jobs (requirement_id, priority desc, rank, id)
  where state = 'queued' and not held;
create index jobs_queue_head on jobs (rank) where state = 'queued';
create index jobs_recovering on jobs (run_at) where state = 'recovering' and not held;
create index jobs_live on jobs (id) where state in ('queued', 'processing', 'recovering');
-- Jobs that wait again: outwards they are recovering, and there are few of them.
create index jobs_requeued on jobs (id) where state = 'queued' and attempt_count > 0;
create index jobs_by_state on jobs (state, id);
create index jobs_by_owner on jobs (owner, id);
create index jobs_by_batch on jobs (batch_id, id) where batch_id is not null;
create index jobs_by_tag on jobs using gin (tags) where tags <> '{}';
create index jobs_by_creation on jobs (created_at);
create index jobs_by_end on jobs (ended_at) where ended_at is not null;

-- Counts by owner and state, kept as deltas so that no two transactions meet on a row; folded by a
-- loop. A count is the sum of both tables, at 1,000,000 jobs as at ten.
create table job_counts (
  owner text collate "C" not null,
  state text not null,
  held boolean not null,
  jobs bigint not null,
  primary key (owner, state, held)
);

create table job_count_deltas (
  id bigint generated always as identity primary key,
  owner text collate "C" not null,
  state text not null,
  held boolean not null,
  jobs bigint not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

create function count_jobs_inserted() returns trigger language plpgsql as $$
begin
  insert into job_count_deltas (owner, state, held, jobs)
  select owner, state, held, count(*) from new_rows group by owner, state, held;
  return null;
end $$;

create function count_jobs_deleted() returns trigger language plpgsql as $$
begin
  insert into job_count_deltas (owner, state, held, jobs)
  select owner, state, held, -count(*) from old_rows group by owner, state, held;
  return null;
end $$;

create function count_jobs_updated() returns trigger language plpgsql as $$
begin
  insert into job_count_deltas (owner, state, held, jobs)
  select owner, state, held, sum(n)
  from (
    select owner, state, held, 1 as n from new_rows
    union all
    select owner, state, held, -1 from old_rows
  ) as changes
  group by owner, state, held
  having sum(n) <> 0;
  return null;
end $$;

create trigger jobs_counted_insert after insert on jobs
  referencing new table as new_rows for each statement execute function count_jobs_inserted();
create trigger jobs_counted_delete after delete on jobs
  referencing old table as old_rows for each statement execute function count_jobs_deleted();
create trigger jobs_counted_update after update on jobs
  referencing old table as old_rows new table as new_rows
  for each statement execute function count_jobs_updated();

-- Leases and attempts -----------------------------------------------------------------------------

-- One row a live lease; what changes at every renewal is in no index.
create table leases (
  job_id text collate "C" primary key references jobs (id) on delete cascade,
  lease_epoch int not null,
  attempt_id text collate "C" not null,
  instance_id text collate "C" not null,
  machine_id text collate "C" not null,
  phase text not null default 'staged',
  lease_until timestamptz not null,
  granted_at timestamptz not null default now(),
  progress jsonb,
  constraint leases_phase_known check (phase in ('staged', 'running', 'collecting'))
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

create index leases_by_machine on leases (machine_id);

create table attempts (
  id text collate "C" primary key,
  job_id text collate "C" not null references jobs (id) on delete cascade,
  number int not null,
  round int not null,
  lease_epoch int not null,
  lineage int not null,
  machine_id text collate "C" not null,
  instance_id text collate "C" not null,
  -- Made before the POST, so that an ambiguous one can be looked up (F1).
  prompt_id text collate "C" not null unique,
  started boolean not null default false,
  outcome text,
  error jsonb,
  evidence jsonb,
  decision jsonb,
  timings jsonb not null default '{}',
  granted_at timestamptz not null default now(),
  started_at timestamptz,
  ended_at timestamptz,
  constraint attempts_number_once unique (job_id, number),
  constraint attempts_end_has_outcome check ((outcome is null) = (ended_at is null))
) with (fillfactor = 80);

create index attempts_by_instance on attempts (instance_id, id);

create table outputs (
  id text collate "C" primary key,
  job_id text collate "C" not null references jobs (id) on delete cascade,
  attempt_id text collate "C" not null,
  lineage int not null,
  node_id text not null,
  ordinal int not null,
  kind text not null,
  name text not null,
  media_type text not null,
  size_bytes bigint not null,
  sha256 text collate "C" not null references blobs (sha256),
  temporary boolean not null,
  text text,
  created_at timestamptz not null default now(),
  constraint outputs_place_once unique (job_id, lineage, node_id, ordinal),
  constraint outputs_kind_known check (kind in ('image', 'video', 'audio', 'text', 'latent', 'file'))
);

create index outputs_by_blob on outputs (sha256);

-- Telling -----------------------------------------------------------------------------------------

-- The outbox. A reader takes only events whose transaction is older than every running one.
create table events (
  seq bigint generated always as identity primary key,
  xid xid8 not null default pg_current_xact_id(),
  id text collate "C" not null unique,
  type text not null,
  version int not null,
  at timestamptz not null default now(),
  owner text collate "C" not null,
  job_id text collate "C",
  payload jsonb not null
);

create index events_in_commit_order on events (xid, seq);
create index events_by_job on events (job_id, seq) where job_id is not null;

create table event_cursors (
  consumer text collate "C" primary key,
  xid xid8 not null,
  seq bigint not null,
  updated_at timestamptz not null default now()
) with (fillfactor = 50);

create table webhook_endpoints (
  id text collate "C" primary key,
  owner text collate "C" not null,
  url text not null,
  secret text not null,
  -- Event types to send; empty sends all.
  event_types text[] not null default '{}',
  enabled boolean not null default true,
  created_at timestamptz not null default now()
);

create table webhook_deliveries (
  id text collate "C" primary key,
  owner text collate "C" not null,
  -- Null for a job's own webhook.
  endpoint_id text collate "C" references webhook_endpoints (id) on delete cascade,
  job_id text collate "C",
  event_id text collate "C" not null,
  event_type text not null,
  url text not null,
  payload jsonb not null,
  state text not null default 'pending',
  attempt_count int not null default 0,
  next_at timestamptz not null default now(),
  claimed_until timestamptz,
  last_status int,
  last_error text,
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  constraint webhook_deliveries_state_known check (state in ('pending', 'delivered', 'dead')),
  constraint webhook_deliveries_once unique nulls not distinct (event_id, endpoint_id, url)
) with (fillfactor = 70);

create index webhook_deliveries_due on webhook_deliveries (next_at) where state = 'pending';
create index webhook_deliveries_by_owner on webhook_deliveries (owner, id);
create index webhook_deliveries_by_job on webhook_deliveries (job_id, id) where job_id is not null;
