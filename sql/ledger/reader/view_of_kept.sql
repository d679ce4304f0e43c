create or replace view {table} as select {columns} from kept.{table};
