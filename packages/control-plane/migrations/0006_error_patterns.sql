-- Errors that operators describe themselves, and what is done about them.

create table error_patterns (
  name text primary key,
  -- As the API takes it; not jsonb, which would put adjustments in another order.
  spec json not null,
  -- Grows with every write, so that a replica sees by one look that something changed.
  revision bigint not null generated always as identity,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint error_patterns_name check (name ~ '^[a-z][a-z0-9_]{0,59}$')
);
