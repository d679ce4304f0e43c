-- Columns by name: files that compaction made have one of DuckLake's own.
(select {columns} from read_parquet({files}))
