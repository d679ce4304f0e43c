-- What happened to rows that had some values, before or after.
select source, relation, relation_id, key, old_key, epoch_us("at"), op, outcome, request_id, actor, lsn, commit_lsn,
       seq, xid, subxid, context_id, before, after, unchanged,
       coalesce(commit_lsn, lsn)
from {changes}
where relation = {relation} and source = {source} and relation_id = {relation_id}
  and (list_bool_and(list_transform($names, lambda name, nth:
           map_contains(before, name) and before[name] is not distinct from ($values)[nth]))
       or list_bool_and(list_transform($names, lambda name, nth:
           map_contains(after, name) and after[name] is not distinct from ($values)[nth])));
