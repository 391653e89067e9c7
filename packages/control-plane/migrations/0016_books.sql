-- Books: batches of pages. A page is wanted here and rendered as a job; what it waits for, how often it
-- was tried and what came of it is kept here, also when its job is long gone.

create table batches (
  id text collate "C" primary key,
  number bigint generated always as identity unique,
  owner text collate "C" not null,
  -- Node classes that its caller's graphs could use when it was made; null allows all.
  allowed_classes text[],
  name text,
  status text not null,
  parallel boolean not null,
  -- Pages that are jobs at one time.
  page_window int not null,
  priority smallint not null,
  tags text[] not null default '{}',
  timeout_ms int,
  policy jsonb not null default '{}',
  metadata jsonb not null default '{}',
  max_retries int not null,
  -- Pauses before fresh rounds of a page, in ms; the last repeats.
  retry_backoff_ms int[] not null,
  warnings text[] not null default '{}',
  -- Of the Idempotency-Key header of whoever made it; null without one.
  request_key text,
  -- SHA-256 of that request: the same key stands for nothing else.
  request_hash text,
  page_count int not null,
  -- Its pages by state, kept by a trigger.
  pending int not null default 0,
  rendering int not null default 0,
  attention int not null default 0,
  done int not null default 0,
  cancelled int not null default 0,
  -- When something has to be done for it; null when nothing has before somebody changes it.
  wake_at timestamptz,
  -- Its jobs have still to be told of a new priority.
  spreads_priority boolean not null default false,
  -- Why its pages are not released, where the queue did not take them.
  waiting_reason text,
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  -- Nobody sees it any more; its rows go in steps.
  removed_at timestamptz,
  constraint batches_status_known
    check (status in ('running', 'paused', 'completed', 'attention', 'cancelled')),
  -- A cancelled one ends when its last page has.
  constraint batches_end_has_instant check (
    (status in ('running', 'paused') and ended_at is null)
    or (status in ('completed', 'attention') and ended_at is not null)
    or status = 'cancelled'),
  constraint batches_request_whole check ((request_key is null) = (request_hash is null))
) with (fillfactor = 50);

create unique index batches_by_request on batches (owner, request_key)
  where request_key is not null;
create index batches_by_owner on batches (owner, id);
create index batches_by_status on batches (status, id);
create index batches_due on batches (wake_at) where wake_at is not null;
create index batches_ended on batches (ended_at) where ended_at is not null;
create index batches_removed on batches (removed_at) where removed_at is not null;

-- The graphs of a book, each once, as its caller sent them. `json`: order and numbers stay as they came.
create table book_graphs (
  batch_id text collate "C" not null references batches (id) on delete cascade,
  graph_no int not null,
  body json not null,
  primary key (batch_id, graph_no)
);

create table book_pages (
  batch_id text collate "C" not null references batches (id) on delete cascade,
  page int not null,
  name text,
  graph_no int not null,
  -- Values by `node.input` that its present version puts into the graph.
  overrides jsonb not null,
  -- What its graph's {{variables}} were filled with: a new value for one needs those beside it.
  variables jsonb not null,
  metadata jsonb not null,
  -- Why no job can be made of it.
  trouble jsonb,
  state text not null default 'pending',
  version int not null default 1,
  -- Who asked for this version, and when.
  made_by text not null,
  made_at timestamptz not null default now(),
  -- The job of this version.
  job_id text collate "C",
  -- The newest round of that job whose end is settled here.
  settled_round int not null default 0,
  -- It is given out as a job by somebody who has not noted so yet.
  releasing_since timestamptz,
  retry_count int not null default 0,
  retry_at timestamptz,
  last_attempted_at timestamptz,
  ended_at timestamptz,
  image_errors jsonb not null default '[]',
  -- Of attempts that are over; they stay when the job is removed.
  prompt_ids text[] not null default '{}',
  -- What recovery changed in the graph it was rendered with; it stays when the job is removed.
  changes jsonb,
  primary key (batch_id, page),
  constraint book_pages_state_known
    check (state in ('pending', 'rendering', 'attention', 'done', 'cancelled')),
  constraint book_pages_releasing_renders check (releasing_since is null or state = 'rendering'),
  constraint book_pages_retry_waits check (retry_at is null or state = 'pending'),
  constraint book_pages_end_has_instant
    check ((state in ('attention', 'done', 'cancelled')) = (ended_at is not null))
) with (fillfactor = 70);

create index book_pages_by_state on book_pages (batch_id, state, page);
create index book_pages_by_job on book_pages (job_id) where job_id is not null;
create index book_pages_by_end on book_pages (batch_id, ended_at) where ended_at is not null;
create index book_pages_waiting on book_pages (batch_id, retry_at) where retry_at is not null;
create index book_pages_releasing on book_pages (releasing_since) where releasing_since is not null;
create index book_pages_changed on book_pages (batch_id)
  where state = 'done' and changes->>'loss' <> 'none';

-- Versions before the present one.
create table book_page_versions (
  batch_id text collate "C" not null,
  page int not null,
  version int not null,
  overrides jsonb not null,
  made_by text not null,
  made_at timestamptz not null,
  job_id text collate "C",
  -- As of its page.
  changes jsonb,
  releasing_since timestamptz,
  -- It was rendering when the next version took its place: its job has still to be cancelled.
  ends_job boolean not null,
  primary key (batch_id, page, version),
  foreign key (batch_id, page) references book_pages (batch_id, page) on delete cascade
);

create index book_page_versions_ending on book_page_versions (batch_id) where ends_job;

-- Jobs of books that have ended, or were queued again: written with that change, so that neither is
-- missed whatever becomes of a process. Without a key: whoever ends a job waits for nobody here.
create table book_turns (
  seq bigint generated always as identity primary key,
  batch_id text collate "C" not null,
  job_id text collate "C" not null
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

create index book_turns_by_batch on book_turns (batch_id);

create function note_book_turn() returns trigger language plpgsql as $$
begin
  insert into book_turns (batch_id, job_id)
  select id, new.id from batches where id = new.batch_id;
  return null;
end $$;

create trigger jobs_turn_books after update on jobs for each row
  when (starts_with(new.batch_id, 'bat_')
    and (old.ended_at is null) <> (new.ended_at is null))
  execute function note_book_turn();

create function count_book_pages_inserted() returns trigger language plpgsql as $$
begin
  update batches b set pending = b.pending + d.pages
  from (select batch_id, count(*) as pages from new_rows group by batch_id) d
  where b.id = d.batch_id;
  return null;
end $$;

create function count_book_pages_updated() returns trigger language plpgsql as $$
begin
  update batches b set pending = b.pending + d.pending, rendering = b.rendering + d.rendering,
    attention = b.attention + d.attention, done = b.done + d.done,
    cancelled = b.cancelled + d.cancelled
  from (
    select batch_id,
      coalesce(sum(n) filter (where state = 'pending'), 0) as pending,
      coalesce(sum(n) filter (where state = 'rendering'), 0) as rendering,
      coalesce(sum(n) filter (where state = 'attention'), 0) as attention,
      coalesce(sum(n) filter (where state = 'done'), 0) as done,
      coalesce(sum(n) filter (where state = 'cancelled'), 0) as cancelled
    from (
      select batch_id, state, 1 as n from new_rows
      union all
      select batch_id, state, -1 from old_rows
    ) as changes
    group by batch_id
  ) d
  where b.id = d.batch_id
    and (d.pending, d.rendering, d.attention, d.done, d.cancelled) <> (0, 0, 0, 0, 0);
  return null;
end $$;

create trigger book_pages_counted_insert after insert on book_pages
  referencing new table as new_rows
  for each statement execute function count_book_pages_inserted();
create trigger book_pages_counted_update after update on book_pages
  referencing old table as old_rows new table as new_rows
  for each statement execute function count_book_pages_updated();
