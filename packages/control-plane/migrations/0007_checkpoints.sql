-- What attempts put away while they run, so that another one can go on from it.

create table checkpoints (
  job_id text collate "C" not null references jobs (id) on delete cascade,
  -- Hash of everything that decides the latent: equal keys, equal work.
  key text collate "C" not null,
  attempt_id text collate "C" not null,
  attempt_number int not null,
  -- The sampler whose output it is.
  node_id text not null,
  -- Null when it cannot be had or used; `problem` says why, and it is not tried again for this job.
  sha256 text collate "C" references blobs (sha256),
  size_bytes bigint not null,
  percent real not null,
  -- Execution time that a resume from it spares, over all attempts that led to it.
  spent_ms float8 not null,
  problem text,
  created_at timestamptz not null default now(),
  primary key (job_id, key),
  constraint checkpoints_bytes_or_problem check ((sha256 is null) = (problem is not null))
);

create index checkpoints_by_blob on checkpoints (sha256);
create index checkpoints_by_age on checkpoints (created_at);

-- What an attempt went on from; null when it began at the beginning.
alter table attempts add column resume jsonb;
