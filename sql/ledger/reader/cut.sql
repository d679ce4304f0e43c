-- The newest commit, baseline or schema change up to a time.
select greatest(
    (select max(commit_lsn) from transactions where source = $source and "at" <= make_timestamptz($at_us::bigint)),
    (select max(lsn) from ddl where source = $source and "at" <= make_timestamptz($at_us::bigint)),
    (select max(lsn) - 1 from baselines where source = $source and "at" <= make_timestamptz($at_us::bigint)));
