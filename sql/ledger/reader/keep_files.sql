insert into kept.{table} by name select * from {part};
