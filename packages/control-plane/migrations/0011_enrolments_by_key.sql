-- The token that a key was got for: asked when a machine gets its next key, and for each old token that
-- may be forgotten. Those of keys that machines have stay for ever.
create index enrolments_by_key on enrolments (key_id) where key_id is not null;
