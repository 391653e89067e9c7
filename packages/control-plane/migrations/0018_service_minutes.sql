
-- What was delivered, by the minute: kept long after the jobs are gone, for error budgets and plots.

-- One row for each minute in which a job ended. It is counted anew while jobs that ended in it may still
-- be on their way into the database, and stays as it is from then on.
create table service_minutes (
  minute timestamptz primary key,
  completed int not null,
  -- Of the completed ones: after an attempt that failed.
  recovered int not null,
  failed int not null,
  timed_out int not null,
  cancelled int not null,
  outputs int not null,
  -- How long completed jobs took, in buckets that grow by 2 %: numbers of buckets, and jobs in each.
  latency_buckets smallint[] not null,
  latency_jobs int[] not null
);

-- Up to where minutes were counted.
create table service_minutes_counted (
  only_one boolean primary key default true,
  until timestamptz not null,
  constraint service_minutes_counted_once check (only_one)
) with (fillfactor = 50);

-- When an instance that was healthy stopped being so, and when it came back.
create table instance_losses (
  id bigint generated always as identity primary key,
  instance_id text collate "C" not null,
  name text not null,
  reason text,
  lost_at timestamptz not null default now(),
  back_at timestamptz,
  -- Stopped on purpose, or removed, before it came back.
  left_at timestamptz,
  constraint instance_losses_one_end check (back_at is null or left_at is null)
);

create unique index instance_losses_open on instance_losses (instance_id)
  where back_at is null and left_at is null;
create index instance_losses_by_time on instance_losses (lost_at);

create function note_instance_loss() returns trigger language plpgsql as $$
begin
  if new.state = 'unhealthy' and old.state = 'healthy' and new.declared then
    insert into instance_losses (instance_id, name, reason) values (new.id, new.name, new.reason)
    on conflict do nothing;
  elsif new.state = 'healthy' then
    update instance_losses set back_at = now()
    where instance_id = new.id and back_at is null and left_at is null;
  elsif new.state = 'stopped' or not new.declared then
    update instance_losses set left_at = now()
    where instance_id = new.id and back_at is null and left_at is null;
  end if;
  return null;
end $$;

create trigger instances_losses after update on instances for each row
  when (old.state <> new.state or old.declared <> new.declared)
  execute function note_instance_loss();
