-- Room for one more slot and sender, and the settings that end or keep a slot.
select
    pg_catalog.current_setting('max_replication_slots')::int
        - (select pg_catalog.count(*) from pg_catalog.pg_replication_slots)::int as slots_free,
    pg_catalog.current_setting('max_wal_senders')::int
        - (select pg_catalog.count(*) from pg_catalog.pg_stat_replication)::int as senders_free,
    pg_catalog.current_setting('max_slot_wal_keep_size') as keep_size,
    coalesce(pg_catalog.current_setting('idle_replication_slot_timeout', true), '0') as idle_timeout,
    coalesce(pg_catalog.current_setting('event_triggers', true), 'on') as event_triggers
