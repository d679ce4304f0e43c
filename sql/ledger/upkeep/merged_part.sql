-- The same of changes, in the order of rows, from one place of it up to another. The plain comparisons say nothing
-- new, but by them DuckDB skips row groups.
select {columns}, _ducklake_internal_snapshot_id
from ({reading})
where (relation > {low_relation} or relation = {low_relation} and (
           coalesce(key, '') > {low_key} or coalesce(key, '') = {low_key} and lsn >= {low_lsn}))
  and ({is_last} or relation < {high_relation} or relation = {high_relation} and (
           coalesce(key, '') < {high_key} or coalesce(key, '') = {high_key} and lsn < {high_lsn}))
  and relation >= {low_relation} and ({is_last} or relation <= {high_relation})
  and (not {is_of_relation} or key >= {low_key} and key <= {high_key})
  and (not {is_of_key} or lsn >= {low_lsn} and lsn < {high_lsn})
order by relation, coalesce(key, ''), lsn;
