-- One slot. %(slot)s
select s.plugin::text as plugin, s.database::text as database, s.active, s.wal_status, s.safe_wal_size,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint as retained_bytes
from pg_catalog.pg_replication_slots s where s.slot_name = %(slot)s
