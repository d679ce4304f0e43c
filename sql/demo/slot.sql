-- Whether capture has its slot: from then on nothing is missed.
select confirmed_flush_lsn is not null from pg_catalog.pg_replication_slots where slot_name = %(slot)s
