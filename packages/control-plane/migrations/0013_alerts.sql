--! was 01c3dd61e4a43909aac6be70a73e688f35721102a3055b34e7d106688961b1e2 (with the indexes of 0015)
-- Alerts for operators: which there are and were, what each channel knows of them, what is on its way.

create table alerts (
  id text collate "C" primary key,
  -- SHA-256 of rule and labels.
  fingerprint text collate "C" not null,
  -- What tells alerts apart, as packages/alerts writes it.
  key text not null,
  rule text collate "C" not null,
  severity text not null,
  labels jsonb not null,
  state text not null,
  value double precision not null,
  summary text not null,
  advice text,
  since timestamptz not null,
  fired_at timestamptz,
  clear_since timestamptz,
  missing_since timestamptz,
  resolved_at timestamptz,
  reason text,
  acknowledged_at timestamptz,
  acknowledged_by text,
  acknowledge_note text,
  constraint alerts_state_known check (state in ('pending', 'firing', 'resolved')),
  constraint alerts_severity_known check (severity in ('info', 'warning', 'critical')),
  constraint alerts_fired_has_instant check ((state = 'pending') = (fired_at is null)),
  constraint alerts_end_has_instant check ((state = 'resolved') = (resolved_at is not null)),
  constraint alerts_end_has_reason check ((state = 'resolved') = (reason is not null))
) with (fillfactor = 70);

-- One alert a rule and set of labels at a time.
create unique index alerts_live on alerts (fingerprint) where state <> 'resolved';
create index alerts_by_state on alerts (state, id);
create index alerts_by_rule on alerts (rule, id);
create index alerts_by_end on alerts (resolved_at) where resolved_at is not null;

-- That a channel knows of an alert that fires; gone when it was told of its end. `maybe`: it was sent,
-- and nobody knows what became of it.
create table alert_told (
  alert_id text collate "C" not null references alerts (id) on delete cascade,
  channel text collate "C" not null,
  told text not null,
  told_at timestamptz not null,
  primary key (alert_id, channel),
  constraint alert_told_known check (told in ('maybe', 'yes'))
);

create index alert_told_by_channel on alert_told (channel);

create table alert_channels (
  name text collate "C" primary key,
  planned_at timestamptz,
  paused_until timestamptz,
  -- Why the last notification was given up; null when the last one arrived.
  last_error text
) with (fillfactor = 50);

create table alert_deliveries (
  id text collate "C" primary key,
  channel text collate "C" not null,
  cause text not null,
  -- The alerts as they were when it was made: the same in every try.
  alerts jsonb not null,
  state text not null default 'pending',
  attempt_count int not null default 0,
  next_at timestamptz not null,
  claimed_until timestamptz,
  -- A try ended without an answer.
  may_have_arrived boolean not null default false,
  last_error text,
  created_at timestamptz not null,
  ended_at timestamptz,
  constraint alert_deliveries_cause_known check (cause in ('change', 'repeat', 'test')),
  constraint alert_deliveries_state_known check (state in ('pending', 'delivered', 'dead')),
  constraint alert_deliveries_end_has_instant check ((state = 'pending') = (ended_at is null))
) with (fillfactor = 70);

-- A channel's notifications go one after the other.
create unique index alert_deliveries_in_turn on alert_deliveries (channel)
  where state = 'pending' and cause <> 'test';
create index alert_deliveries_due on alert_deliveries (next_at) where state = 'pending';
create index alert_deliveries_by_channel on alert_deliveries (channel, id);

create table alert_silences (
  id text collate "C" primary key,
  matchers text[] not null,
  reason text not null,
  created_by text not null,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  constraint alert_silences_in_order check (starts_at <= ends_at)
);

create index alert_silences_by_end on alert_silences (ends_at);

-- Rules that operators made by the API.
create table alert_rules (
  name text collate "C" primary key,
  -- As the API takes it.
  spec json not null,
  -- Grows with every write, so that a replica sees by one look that something changed.
  revision bigint not null generated always as identity,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint alert_rules_name check (name ~ '^[a-z][a-z0-9_]{0,59}$')
);

-- The last evaluation, by whichever replica; one row.
create table alert_evaluation (
  is_only boolean primary key default true,
  evaluated_at timestamptz not null,
  -- Metrics that were told.
  told text[] not null,
  -- Series for which rules had no room, by rule.
  omitted jsonb not null,
  constraint alert_evaluation_only check (is_only)
) with (fillfactor = 50);

-- How jobs ended, by quarter of an hour: what the share of failed ones usually is. A day's worth.
create table alert_job_ends (
  quarter timestamptz primary key,
  completed bigint not null,
  failed bigint not null
) with (fillfactor = 70);
