-- What requests changed, or tried to, in the order of the log.
select request_id, source, relation, relation_id, key, old_key, op, outcome, "at", lsn, commit_lsn, seq, xid, actor, context_id
from changes
where request_id in (select unnest($request_ids::varchar[]))
order by request_id, coalesce(commit_lsn, lsn), seq nulls first, lsn
