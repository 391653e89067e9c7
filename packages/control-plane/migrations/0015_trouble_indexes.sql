--! concurrently
-- What alerts look for every few seconds, among rows of which hardly any is of the kind. A database that
-- took 0013 before they were taken out of it has them.

create index concurrently jobs_poisoned on jobs (ended_at) where poison;
create index concurrently attempts_died on attempts (ended_at) where outcome = 'instance_died';
create index concurrently webhook_deliveries_dead on webhook_deliveries (ended_at) where state = 'dead';
