-- The typed views of one relation; names and literals come quoted.
create or replace view current.{name} as
select {current}
       map_from_entries(list_filter([{uncast_row}]::struct(k varchar, v varchar)[], lambda c: c.v is not null)) as _uncast
from table_at({relation}, 18446744073709551615::ubigint)
where source = {source} and relation_id = {relation_id};

create or replace view history.{name} as
select source as _source, commit_lsn as _commit_lsn, lsn as _lsn, seq as _seq, "at" as _at, xid as _xid,
       op as _op, outcome as _outcome, key as _key, old_key as _old_key, unchanged as _unchanged,
       request_id as _request_id, actor as _actor, context_id as _context_id,
       {history}
       map_from_entries(list_filter([{uncast_after}]::struct(k varchar, v varchar)[], lambda c: c.v is not null)) as _uncast
from changes
where source = {source} and relation in ({relations}) and relation_id = {relation_id};
