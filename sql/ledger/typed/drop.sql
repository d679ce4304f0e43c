-- A name that no relation bears any more.
drop view if exists current.{name};
drop view if exists history.{name};
