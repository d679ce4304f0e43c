(select {columns} from read_parquet({files}) union all select {columns} from kept.{table})
