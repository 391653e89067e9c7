-- What people ask of the fleet: why a lever was undone, and which machines a request started, so that one
-- whose answer was lost can be sent again. And what is in the way of a pool that is blocked.

alter table fleet_levers
  -- Why it was undone, where that was said.
  add column undone_reason text,
  -- Of the Idempotency-Key header of whoever started machines; null without one.
  add column request_key text,
  -- SHA-256 of that request: the same key stands for nothing else.
  add column request_hash text,
  -- The machines that were started, by their ids in the fleet.
  add column machine_ids text[],
  add constraint fleet_levers_undone_reason_undone
    check (undone_reason is null or undone_at is not null),
  add constraint fleet_levers_request_whole check ((request_key is null) = (request_hash is null)
    and (request_key is null or machine_ids is not null));

create unique index fleet_levers_by_request on fleet_levers (made_by, request_key)
  where request_key is not null;

alter table fleet_pools
  -- Null with a reason: written before this column was there.
  add column block_kind text,
  add constraint fleet_pools_block_kind_known
    check (block_kind in ('refused', 'away', 'no_capacity'));
