-- What the rows of a table's files are sorted by, if by anything (`sql/ledger/015_order.sql`).
select owner.table_name, by.expression
from ducklake_sort_info as sorted
join ducklake_sort_expression as by on by.sort_id = sorted.sort_id
join ducklake_table as owner on owner.table_id = sorted.table_id
where sorted.end_snapshot is null and owner.end_snapshot is null
order by owner.table_name, by.sort_key_index;
