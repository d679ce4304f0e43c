-- A heartbeat waits for its commit, and that for synchronous standbys: not for ever.
-- %(timeout_ms)s: bound in milliseconds, as text.
select pg_catalog.set_config('statement_timeout', %(timeout_ms)s, false)
