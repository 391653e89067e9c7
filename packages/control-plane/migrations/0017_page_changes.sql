-- What recovery changed in the graph that a page was rendered with: it stays when the job is removed.

alter table book_pages add column changes jsonb;
alter table book_page_versions add column changes jsonb;

create index book_pages_changed on book_pages (batch_id)
  where state = 'done' and changes->>'loss' <> 'none';

update book_pages p set changes = j.plan->'changes' from jobs j
where j.id = p.job_id and p.ended_at is not null and j.plan->'changes' is not null;
update book_page_versions v set changes = j.plan->'changes' from jobs j
where j.id = v.job_id and j.plan->'changes' is not null;
