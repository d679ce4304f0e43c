-- Forget the catalog's own old versions; Flux travels in time by its own columns.
call ducklake_expire_snapshots('flux', older_than => date_trunc('day', now() - to_seconds($grace_s)) - interval 1 day);
