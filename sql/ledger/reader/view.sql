create or replace view {table} as select * from {part};
