-- Rows of one batch table into the ledger's table of the same columns. {table} is one of ours.
insert into {table} by name
select $source as source, batch.* from batch;
