-- Statistics of recovery: one event a failed attempt, open until its job ends, counted for ever.

-- Open ones alone: as many as jobs that failed and have not ended have failed attempts.
create table error_events (
  -- The attempt that failed, or a made-up id for a job that nobody could serve.
  attempt_id text collate "C" primary key,
  job_id text collate "C" not null,
  owner text collate "C" not null,
  class text not null,
  strategy text not null,
  rung text not null,
  node_type text,
  machine_id text collate "C",
  at timestamptz not null default now()
);

create index error_events_by_job on error_events (job_id);

-- What is to be counted, until the loop has done so: an error that happened (`error`), or how one
-- ended. No key and no index: rows live for seconds, and are found by place.
create table error_changes (
  owner text collate "C" not null,
  kind text not null,
  class text not null,
  strategy text not null,
  rung text not null,
  node_type text,
  machine_id text collate "C",
  -- When the error happened, also in a row that tells how it ended: both count for that instant.
  at timestamptz not null
) with (
  autovacuum_vacuum_scale_factor = 0.0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0
);

-- Counts for ever (`all`, under one bucket), by the hour for eight days, by the minute for two hours.
create table error_counts (
  grain text not null,
  dimension text not null,
  -- When it begins, in seconds since 1970; 0 under `all`.
  bucket bigint not null,
  owner text collate "C" not null,
  key text collate "C" not null,
  errors bigint not null,
  recovered bigint not null,
  failed bigint not null,
  cancelled bigint not null,
  primary key (grain, dimension, bucket, owner, key),
  constraint error_counts_grain_known check (grain in ('minute', 'hour', 'all'))
) with (fillfactor = 70);

create function count_error_begun() returns trigger language plpgsql as $$
begin
  insert into error_changes values (new.owner, 'error', new.class, new.strategy, new.rung,
    new.node_type, new.machine_id, new.at);
  return null;
end $$;

create trigger error_events_counted after insert on error_events for each row
  execute function count_error_begun();

-- In the transaction that ends the job, whoever ends it.
create function settle_error_events() returns trigger language plpgsql as $$
begin
  with settled as (delete from error_events where job_id = new.id returning *)
  insert into error_changes
  select owner,
    case new.state when 'completed' then 'recovered' when 'cancelled' then 'cancelled'
      else 'failed' end,
    class, strategy, rung, node_type, machine_id, at
  from settled;
  return null;
end $$;

-- A job that completed at its first attempt has none, unless it waited for what nobody had.
create trigger jobs_errors_settled after update on jobs for each row
  when (old.ended_at is null and new.ended_at is not null
    and (new.state <> 'completed' or new.attempt_count > 1 or new.recovery_count > 0))
  execute function settle_error_events();

-- Evidence and history of failed attempts, for whoever removes them; few attempts are in it.
create index attempts_with_evidence on attempts (job_id) where evidence is not null;

-- What an emergency stop holds, for its release.
create index jobs_held on jobs (id) where held;
