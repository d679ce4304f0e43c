-- A request's first and last place in the log.
select min(coalesce(commit_lsn, lsn)), max(coalesce(commit_lsn, lsn)) from changes where request_id = $request_id;
