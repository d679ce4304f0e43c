-- Rows of files that came after a version of the catalog, as they are.
select * from read_parquet({files}, union_by_name => true)
