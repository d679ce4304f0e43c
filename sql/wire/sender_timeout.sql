-- How soon the server gives up a reader that says nothing, in milliseconds; 0: never.
select s.setting from pg_catalog.pg_settings as s where s.name = 'wal_sender_timeout'
