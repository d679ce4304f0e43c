drop table if exists baseline_rows;
drop table if exists baseline_differences;
