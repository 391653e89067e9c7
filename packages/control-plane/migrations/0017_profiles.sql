-- What a graph costs on a kind of card: learned from runs, or measured by `holdfast profile`.

alter table jobs
  -- Hash of the graph's template and of the values that decide its cost (size, steps, pictures). Null:
  -- submitted before there were profiles.
  add column cost_key text collate "C";

create table profiles (
  cost_key text collate "C" not null,
  -- The card's name, without the number it has on its machine; empty where nobody told it.
  card text collate "C" not null,
  -- Hash of the template: `graphs.hash`.
  shape text not null,
  -- The values that decide the cost, for a person.
  cost_values jsonb not null,
  models text[] not null,
  -- Running statistics, as profiles/statistics.ts makes them.
  statistics jsonb not null,
  -- When it was measured by hand; null: never.
  measured_at timestamptz,
  -- When a run was added to it.
  updated_at timestamptz not null default now(),
  primary key (cost_key, card)
) with (fillfactor = 50);

create index profiles_by_use on profiles (updated_at);
