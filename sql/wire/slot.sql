-- One slot as the server knows it. to_jsonb gives columns that only newer majors have
-- (invalidation_reason: 17) without naming them.
-- %(slot)s: name of the slot.
select
    s.slot_name::text as slot,
    s.plugin::text as plugin,
    s.database::text as database,
    s.active_pid as active_pid,
    (s.confirmed_flush_lsn - '0/0'::pg_catalog.pg_lsn)::bigint as confirmed_lsn,
    (s.restart_lsn - '0/0'::pg_catalog.pg_lsn)::bigint as restart_lsn,
    (pg_catalog.pg_current_wal_lsn() - '0/0'::pg_catalog.pg_lsn)::bigint as server_lsn,
    s.wal_status as wal_status,
    s.safe_wal_size as safe_wal_bytes,
    pg_catalog.to_jsonb(s) ->> 'invalidation_reason' as invalidation_reason
from pg_catalog.pg_replication_slots as s
where s.slot_name = %(slot)s
