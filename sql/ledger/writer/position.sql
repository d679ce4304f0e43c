-- The newest position of a source.
select slot, system_identifier, timeline, commit_lsn, coalesce(end_lsn, commit_lsn), epoch_us("at")
from positions
where source = $source
order by coalesce(end_lsn, commit_lsn) desc, "at" desc
limit 1;
