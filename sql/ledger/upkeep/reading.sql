-- Files that commits brought, each with the version of its commit. Not by a join: that holds them all in memory.
select *, map({files}, {versions}::bigint[])[filename] as _ducklake_internal_snapshot_id
from read_parquet({files}, filename => true, union_by_name => true)
