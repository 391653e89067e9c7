-- Counts cost less to keep, and what ended lately is counted by the minute instead of by a scan.

-- One row for each way that jobs of a caller went in one statement: from where (null: they are new) to
-- where (null: they are gone). No key and no index: rows live for a second, and are found by place.
create table job_transitions (
  owner text collate "C" not null,
  from_state text,
  from_held boolean,
  from_ended_at timestamptz,
  to_state text,
  to_held boolean,
  to_ended_at timestamptz,
  jobs bigint not null
) with (
  autovacuum_vacuum_scale_factor = 0.0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0
);

-- How many of a caller's jobs ended in a minute and are still as that end left them. Rows of the last
-- two hours; older ones are removed.
create table job_end_counts (
  owner text collate "C" not null,
  minute timestamptz not null,
  state text not null,
  jobs bigint not null,
  primary key (owner, minute, state)
) with (fillfactor = 70);

-- How many jobs of a caller are gone.
create table removed_job_counts (
  owner text collate "C" primary key,
  jobs bigint not null
) with (fillfactor = 70);

drop trigger jobs_counted_insert on jobs;
drop trigger jobs_counted_delete on jobs;
drop trigger jobs_counted_update on jobs;
drop function count_jobs_inserted();
drop function count_jobs_deleted();
drop function count_jobs_updated();

-- `job_count_deltas` stays, empty, for processes of before that still read it.
with taken as (delete from job_count_deltas returning owner, state, held, jobs)
insert into job_counts as c (owner, state, held, jobs)
select owner, state, held, sum(jobs) from taken group by owner, state, held
on conflict (owner, state, held) do update set jobs = c.jobs + excluded.jobs;

insert into job_end_counts (owner, minute, state, jobs)
select owner, date_trunc('minute', ended_at), state, count(*) from jobs
where ended_at > now() - interval '2 hours' group by 1, 2, 3;

-- Minutes that nobody asks for any more are no reason to keep rows apart.
create function recent_minute(at timestamptz) returns timestamptz language sql stable as $$
  select case when at > now() - interval '2 hours' then date_trunc('minute', at) end
$$;

create function count_jobs_inserted() returns trigger language plpgsql as $$
begin
  insert into job_transitions (owner, to_state, to_held, to_ended_at, jobs)
  select owner, state, held, recent_minute(ended_at), count(*) from new_rows group by 1, 2, 3, 4;
  return null;
end $$;

create function count_jobs_deleted() returns trigger language plpgsql as $$
begin
  insert into job_transitions (owner, from_state, from_held, from_ended_at, jobs)
  select owner, state, held, recent_minute(ended_at), count(*) from old_rows group by 1, 2, 3, 4;
  return null;
end $$;

create function count_job_updated() returns trigger language plpgsql as $$
begin
  insert into job_transitions values
    (new.owner, old.state, old.held, old.ended_at, new.state, new.held, new.ended_at, 1);
  return null;
end $$;

create trigger jobs_counted_insert after insert on jobs
  referencing new table as new_rows for each statement execute function count_jobs_inserted();
create trigger jobs_counted_delete after delete on jobs
  referencing old table as old_rows for each statement execute function count_jobs_deleted();
-- By row: jobs are claimed and ended one or a few at a time, and that costs half of what transition
-- tables do; updates that change nothing that is counted cost next to nothing. Owners never change.
create trigger jobs_counted_update after update on jobs for each row
  when (old.state <> new.state or old.held <> new.held
    or old.ended_at is distinct from new.ended_at)
  execute function count_job_updated();

-- The oldest waiting job of one caller is found among its own live jobs, not among everybody's.
drop index jobs_live;
create index jobs_live_by_owner on jobs (owner, id)
  where state in ('queued', 'processing', 'recovering');
