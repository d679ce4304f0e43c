delete from kept.{table};
