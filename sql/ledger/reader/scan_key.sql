-- Changes and attempts of one row.
select source, relation, relation_id, key, old_key, epoch_us("at"), op, outcome, request_id, actor, lsn, commit_lsn,
       seq, xid, subxid, context_id, before, after, unchanged,
       coalesce(commit_lsn, lsn)
from {changes}
where relation = {relation} and source = {source} and relation_id = {relation_id}
  and key = {key};
