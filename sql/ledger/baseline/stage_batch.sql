insert into baseline_rows select key, after from batch;
