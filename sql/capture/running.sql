-- How many transactions a new slot waits for (those of all databases with a transaction id).
select pg_catalog.count(*) from pg_catalog.pg_stat_activity as a
where a.backend_xid is not null and a.pid <> pg_catalog.pg_backend_pid()
