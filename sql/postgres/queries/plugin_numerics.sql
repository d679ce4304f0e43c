-- Only wal2json 2.6 and later knows the option; others refuse it. %(slot)s
select * from pg_catalog.pg_logical_slot_peek_changes(
    %(slot)s, null, 1, 'format-version', '2', 'numeric-data-types-as-string', '1')
