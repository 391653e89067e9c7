
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

-- An instance whose process ends says `stopped`, not `unhealthy`, and one whose machine goes says nothing.
-- The words are `SIGNED_OFF` and `ENDED_ON_PURPOSE` of the contract.
create function note_instance_loss() returns trigger language plpgsql as $$
begin
  if not new.declared or (new.state = 'stopped' and new.reason = 'its agent has stopped') then
    -- Nobody waits for it any more.
    update instance_losses set left_at = now()
    where instance_id = new.id and back_at is null and left_at is null;
  elsif new.state = 'healthy' then
    update instance_losses set back_at = now()
    where instance_id = new.id and back_at is null and left_at is null;
  elsif
    -- Ended on purpose and not back in time: its agent says so no more.
    (old.state = 'healthy' or coalesce(starts_with(old.reason, 'ended on purpose'), false))
    and not coalesce(starts_with(new.reason, 'ended on purpose'), false)
    -- Declared anew by the agent that served it: a process that went says why.
    and not (new.state = 'starting' and new.reason is null) then
    insert into instance_losses (instance_id, name, reason) values (new.id, new.name, new.reason)
    on conflict do nothing;
  end if;
  return null;
end $$;

create trigger instances_losses after update on instances for each row
  when (old.state <> new.state or old.declared <> new.declared
    or (old.reason is distinct from new.reason
      and (new.state = 'stopped' or starts_with(old.reason, 'ended on purpose'))))
  execute function note_instance_loss();

-- Without a sign of its machine, or after another agent came without a word of the one before, what
-- was healthy is missing since the last sign.
create function note_machine_loss() returns trigger language plpgsql as $$
begin
  if new.state = 'online' and old.boot_id = new.boot_id and old.session = new.session then
    -- It was cut off, and serves as before.
    update instance_losses as l set back_at = now() from instances as i
    where i.machine_id = new.id and i.state = 'healthy'
      and l.instance_id = i.id and l.back_at is null and l.left_at is null;
  else
    insert into instance_losses (instance_id, name, reason, lost_at)
    select id, name,
      case new.state when 'lost' then 'its machine gives no sign of life'
        else 'its agent ended without a word' end,
      old.last_heartbeat_at
    from instances where machine_id = new.id and state = 'healthy' and declared
    on conflict do nothing;
  end if;
  return null;
end $$;

create trigger machines_losses after update on machines for each row
  when (old.state <> new.state or old.boot_id <> new.boot_id)
  execute function note_machine_loss();

-- A machine of the fleet that has ended is a loss of its pool, if it is one: its instances stay away.
create function note_fleet_end() returns trigger language plpgsql as $$
begin
  update instance_losses as l set left_at = now() from instances as i
  where i.machine_id = new.machine_id
    and l.instance_id = i.id and l.back_at is null and l.left_at is null;
  return null;
end $$;

create trigger fleet_machines_losses after update on fleet_machines for each row
  when (old.ended_at is null and new.ended_at is not null and new.machine_id is not null)
  execute function note_fleet_end();
