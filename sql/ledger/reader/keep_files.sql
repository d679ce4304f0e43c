insert into kept.{table} by name select {columns} from read_parquet([{files}]);
