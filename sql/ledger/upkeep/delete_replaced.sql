-- DuckLake 1.0 compares times in a SQLite catalog as text, and as '2026-11-21 09:31' sorts before
-- '2026-11-21T08:31' everything of the bound's own day counts as older. With a bound that lies a day
-- before the day of (now - grace), a file goes no earlier than its grace and a day later at most.
call ducklake_cleanup_old_files('flux', older_than => date_trunc('day', now() - to_seconds($grace_s)) - interval 1 day);
