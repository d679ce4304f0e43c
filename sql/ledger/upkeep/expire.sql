-- Forget old versions of the catalog; Flux travels in time by its own columns.
call ducklake_expire_snapshots('flux', versions => $versions::ubigint[]);
