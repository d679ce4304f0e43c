select count(*) from baseline_rows;
