-- When bytes were first seen that nothing names; null while something does, or nobody looked.
alter table blobs add column unnamed_since timestamptz;

-- Whether any job reads a file's bytes. Only jobs with inputs are in it.
create index jobs_by_input on jobs using gin (jsonb_path_query_array(inputs, '$[*].sha256'))
  where inputs <> '[]';

create index idempotency_keys_by_age on idempotency_keys (created_at);
