-- The first free ordinal at a baseline's position: several tables may share one.
select coalesce(max(seq) + 1, 0) from changes where source = $source and commit_lsn = $commit_lsn;
