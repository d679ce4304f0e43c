-- Files that commits brought, each with the version of its commit.
select file.*, commit.version as _ducklake_internal_snapshot_id
from read_parquet({files}, filename => true, union_by_name => true) as file
join (select unnest({files}) as filename, unnest({versions}::bigint[]) as version) as commit using (filename)
