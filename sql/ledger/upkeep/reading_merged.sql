-- Files that compaction made: they have a version by row.
select * from read_parquet({files}, union_by_name => true)
