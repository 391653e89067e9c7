-- The fleet: machines that were asked for, what keeps more from being asked for, and who leads.

-- Who may ask providers for machines. One row; by the database's clock, so that a host which is cut off
-- loses it however long its connection lingers.
create table fleet_leader (
  only_one boolean primary key default true,
  holder text not null,
  -- Grows with every change of hands: every write of the leader names it.
  epoch bigint not null,
  leads_until timestamptz not null,
  constraint fleet_leader_once check (only_one)
) with (fillfactor = 50);

-- Tells machines of this installation from those of another one under the same name.
create table fleet_identity (
  only_one boolean primary key default true,
  suffix text not null,
  -- Cluster and database that it was made in: a copy elsewhere must not end the original's machines.
  system text,
  constraint fleet_identity_once check (only_one)
);

create table fleet_machines (
  id text collate "C" primary key,
  -- Used once, ever: its provider and its agent know it by this.
  name text collate "C" not null,
  pool text not null,
  provider text not null,
  state text not null,
  ref text,
  offer jsonb,
  offer_index int not null,
  price_per_hour float8,
  asked_at timestamptz not null default now(),
  asked_count int not null default 0,
  unsure_until timestamptz,
  next_ask_at timestamptz not null default now(),
  created_at timestamptz,
  healthy_at timestamptz,
  draining_since timestamptz,
  ended_at timestamptz,
  end_cause text,
  end_kind text,
  end_reason text,
  terminated_at timestamptz,
  -- Where its health server can be reached from here.
  address text,
  -- Its agent, once that has registered.
  machine_id text collate "C",
  -- Who started it against the breaker's word; null for the fleet itself.
  forced_by text,
  -- Why its provider did not make it, the last time.
  trouble text,
  -- `{by, reason, now}`: a person wants it ended. Never written by the leader.
  end_request jsonb,
  constraint fleet_machines_state_known
    check (state in ('asked', 'starting', 'ready', 'draining', 'ending', 'ended')),
  constraint fleet_machines_end_whole
    check ((ended_at is null) = (end_cause is null)
      and (ended_at is not null) = (state in ('ending', 'ended'))),
  constraint fleet_machines_cause_known check (end_cause in ('failed', 'intended')),
  constraint fleet_machines_kind_known check (end_kind in
    ('no_start', 'no_heartbeat', 'crash', 'fault_report', 'provider_error')),
  constraint fleet_machines_failure_has_kind
    check (end_cause is distinct from 'failed' or end_kind is not null)
) with (fillfactor = 70);

create unique index fleet_machines_by_name on fleet_machines (name) where provider <> 'static';
create index fleet_machines_living on fleet_machines (id) where state <> 'ended';
create index fleet_machines_by_end on fleet_machines (ended_at) where ended_at is not null;
create index fleet_machines_by_machine on fleet_machines (machine_id) where machine_id is not null;

-- Cordoned because its machine is to end: kept after all, it takes jobs again. A person's cordon stays.
alter table instances add column cordoned_by_fleet boolean not null default false;

-- Where the breaker stands: what the machines that are still known do not tell. One row.
create table fleet_breaker (
  only_one boolean primary key default true,
  memory jsonb not null,
  looked_at timestamptz not null,
  constraint fleet_breaker_once check (only_one)
) with (fillfactor = 50);

-- What people have set while it runs. Of each kind the newest that is not undone is in force.
create table fleet_levers (
  id text collate "C" primary key,
  kind text not null,
  value jsonb not null,
  reason text not null,
  made_by text not null,
  made_at timestamptz not null default now(),
  undone_by text,
  undone_at timestamptz,
  constraint fleet_levers_kind_known check (kind in
    ('threshold', 'window', 'minimum', 'clear', 'force', 'pause')),
  constraint fleet_levers_undone_whole check ((undone_by is null) = (undone_at is null))
);

create index fleet_levers_by_kind on fleet_levers (kind, id desc);

-- Pools that are asked for nothing for a while.
create table fleet_pools (
  name text collate "C" primary key,
  blocked_until timestamptz,
  reason text,
  -- In a row, for the pause to grow.
  failures int not null default 0,
  -- What the last round decided.
  decision jsonb
) with (fillfactor = 50);
