-- Views that were replaced: each change of a table's shape brings new ones.
delete from ducklake_view where end_snapshot <= :first;
