-- Columns by name: files that compaction made have one of DuckLake's own.
create or replace view {table} as select {columns} from read_parquet([{files}]);
