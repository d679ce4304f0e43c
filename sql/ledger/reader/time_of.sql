-- The time of the newest commit up to a log position.
select max("at") from transactions where commit_lsn <= $lsn
