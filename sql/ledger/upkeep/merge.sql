-- Data files of one table become one, sorted. Everything in braces comes from the catalog or is a constant of ours;
-- `_ducklake_internal_snapshot_id` is DuckLake's name for the catalog's version that brought a row,
-- and the number is the one that it gives this column.
copy (
    select {columns}, _ducklake_internal_snapshot_id
    from ({readings})
    order by {order}
) to {target} (format parquet, compression zstd, row_group_size {group_rows},
          field_ids {{{ids}, '_ducklake_internal_snapshot_id': 2147483539}});
