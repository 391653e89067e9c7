-- How machines come in, what they tell of themselves, which of their instances may be restarted, and
-- what they were asked to fetch.

-- One-time tokens by which machines get keys of their own.
create table enrolments (
  id text collate "C" primary key,
  -- What it was made for.
  name text not null,
  -- SHA-256 of the secret part; the token itself is shown once and never stored.
  secret_hash text not null unique,
  -- The one name under which it may be used; null for any.
  machine_name text,
  created_by text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  used_at timestamptz,
  used_by_name text,
  -- SHA-256 of what the user sent beside it: only that one is answered again.
  nonce_hash text,
  key_id text collate "C",
  constraint enrolments_used_whole check (
    (used_at is null) = (key_id is null) and (used_at is null) = (nonce_hash is null))
);

create index enrolments_by_expiry on enrolments (expires_at);

alter table api_keys
  -- A key that may act as one machine alone: the first that it registers.
  add column is_bound boolean not null default false,
  add column machine_id text collate "C",
  add constraint api_keys_machine_bound check (machine_id is null or is_bound);

create index api_keys_by_machine on api_keys (machine_id) where machine_id is not null;

-- The last report of each machine.
create table machine_reports (
  machine_id text collate "C" primary key references machines (id) on delete cascade,
  report jsonb not null,
  -- What lists of machines show of it.
  summary jsonb not null,
  -- What it could fetch; its models are in machine_offers too, which is written when this changes.
  offers jsonb not null,
  -- Of what it was asked to fetch, how it goes.
  fetches jsonb not null,
  disk_free_bytes bigint,
  reported_at timestamptz not null default now()
);

-- Who could fetch a model: looked up by its name.
create table machine_offers (
  machine_id text collate "C" not null references machines (id) on delete cascade,
  folder text collate "C" not null,
  -- With `/` between its parts.
  name text collate "C" not null,
  size_bytes bigint,
  primary key (machine_id, folder, name)
);

create index machine_offers_by_name on machine_offers (name);

-- Starts, installations and updates of machines, step by step.
create table startup_runs (
  machine_id text collate "C" not null references machines (id) on delete cascade,
  run_id text collate "C" not null,
  kind text not null,
  steps jsonb not null,
  -- Steps beyond the limit of a run, which were not kept.
  omitted int not null default 0,
  log_sha256 text collate "C" references blobs (sha256),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (machine_id, run_id),
  constraint startup_runs_kind_known check (kind in ('start', 'install', 'update'))
);

create index startup_runs_by_age on startup_runs (machine_id, created_at desc);
create index startup_runs_by_blob on startup_runs (log_sha256) where log_sha256 is not null;

alter table instances add column can_restart boolean not null default false;

-- Models that machines were asked to fetch, for as long as jobs need them.
create table model_fetches (
  machine_id text collate "C" not null references machines (id) on delete cascade,
  folder text collate "C" not null,
  name text collate "C" not null,
  asked_at timestamptz not null default now(),
  -- When jobs were last seen to need it.
  needed_at timestamptz not null default now(),
  primary key (machine_id, folder, name)
);

-- A job that waited for a fetch and completed at its first attempt has an error event to settle: what
-- it waited for stands in its plan.
drop trigger jobs_errors_settled on jobs;
create trigger jobs_errors_settled after update on jobs for each row
  when (old.ended_at is null and new.ended_at is not null
    and (new.state <> 'completed' or new.attempt_count > 1 or new.recovery_count > 0
      or new.plan -> 'replanned' is not null))
  execute function settle_error_events();
