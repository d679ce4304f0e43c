(select {columns} from kept.{table})
