-- A place aside for the rows of a copy, until all are there to be compared. It spills to disk.
create or replace temp table baseline_rows (key varchar, after map(varchar, varchar));
