-- What removing old jobs, and what they leave, is looked up by.

-- Ended jobs in the order in which their time is over, state by state: each has its own time.
drop index jobs_by_end;
create index jobs_by_end on jobs (state, ended_at) where ended_at is not null;

-- Whether any job still runs a graph or waits under a requirement. The foreign keys ask as well, for
-- each row that is removed; without these indexes they would read the whole table.
create index jobs_by_graph on jobs (graph_id);
create index jobs_by_requirement on jobs (requirement_id);
