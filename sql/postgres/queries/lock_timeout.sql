-- Until the transaction ends. %(value)s: milliseconds, as text
select pg_catalog.set_config('lock_timeout', %(value)s, true)
