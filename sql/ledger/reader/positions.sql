-- The newest position of each source.
select source, slot, system_identifier, timeline, commit_lsn, "at", end_lsn
from positions
qualify row_number() over (partition by source order by coalesce(end_lsn, commit_lsn) desc, "at" desc) = 1
order by source;
