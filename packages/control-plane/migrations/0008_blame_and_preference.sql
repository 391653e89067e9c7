-- Instances that are given no work for a time, because jobs fail on them and not elsewhere.

alter table instances
  add column quarantined_until timestamptz,
  add column quarantine_reason text,
  -- Quarantines in a row, without a job in between that went well: each is longer than the one before.
  add column quarantine_count int not null default 0;

-- Where a job that failed is to run again, and until when it waits for that instance: what it finished
-- there is still in the instance's memory.
alter table jobs
  add column prefer_instance text collate "C",
  add column prefer_until timestamptz;
