-- The columns of every table of the ledger, in order.
select table_name, column_name from information_schema.columns
where table_schema = 'kept' order by table_name, ordinal_position;
