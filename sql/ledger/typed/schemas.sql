create schema if not exists current;
create schema if not exists history;
