-- What rows are, and who owns their values: `row_at`, `blame`.

-- The rows with one of `keys` as of a moment: one line a column, known ones only.
--   value, and the change that gave it: owner_n (see _events), or since_lsn where ADD COLUMN did
create or replace macro _columns_at(events, shapes, keys) as table
with step as (
    select *, step = 1 and (n = first_n or prior is null or value is distinct from prior.v) or step = 3 as owns
    from _fold(events, shapes, keys)
    where step is null or step <> 2
    qualify root_life = max(root_life) over (partition by source, relation_id, root_key)
)
select source, relation_id, root_key as key, col, any_value(label) as label, any_value(place) as place,
       arg_max({'v': value}, row(n, step)).v as value,
       arg_max(n, row(n, step)) filter (owns) as owner_n,
       coalesce(arg_max(step, row(n, step)) filter (owns) = 3, false) as is_given,
       bool_or(lossy) as lossy
from step
where step is not null and not is_ended
group by source, relation_id, root_key, col;

-- The relation that bears a name as of a moment: the newest of that name.
create or replace macro _target(rel, as_of) as table
select target.source, target.relation_id
from _targets(rel) as target
order by target.named_lsn desc
limit 1;

-- Rows as of a moment, those of `keys` that were there. `row` maps the columns to their texts; a
-- column of which the ledger knows nothing is absent.
create or replace macro _rows_of(events, shapes, keys) as table
select source, relation_id, key,
       map_from_entries(list({'k': label, 'v': value} order by place)) as "row",
       coalesce(list(label order by place) filter (lossy and value is null), []) as lossy
from _columns_at(events, shapes, keys)
where place is not null or not exists (from query_table(shapes))
group by source, relation_id, key;

-- One row as of a moment: none if it was not there.
create or replace macro row_at(rel, row_key, as_of) as table
with event as materialized (from _events(rel, [row_key::varchar], as_of)),
shape as materialized (from _shapes(rel, as_of))
from _rows_of('event', 'shape', [row_key::varchar]);

-- Who owns each column of a row: its value, the last committed change that changed it, and the
-- later attempts to make it something else that were rolled back.
create or replace macro _blame_of(events, shapes, contexts_of, keys) as table
with event as materialized (from query_table(events)),
shape as materialized (from query_table(shapes)),
owned as materialized (
    select * from _columns_at(events, shapes, keys)
    where place is not null or not exists (from shape)
),
fold as materialized (from _fold(events, shapes, keys)),
attempt as materialized (
    select * from _attempts_of(events, 'fold', keys) where op in ('insert', 'update')
),
tried as (
    select a.n, a.source, a.relation_id, a."at", a.request_id, a.outcome, a.lsn,
           unnest(map_keys(own.changed)) as label, unnest(map_values(own.changed)) as change
    from attempt as a join _own_changes('attempt', shapes) as own using (n)
),
added as (
    select shape.source, shape.relation_id, shape.col, min(shape.since_lsn) as since_lsn
    from shape group by all
)
select owned.label as "column", owned.value,
       case when is_given then ddl."at" else event."at" end as "at",
       case when is_given then 'ddl' else event.op end as op,
       case when is_given then ddl.request_id else event.request_id end as request_id,
       case when not is_given then event.actor end as actor,
       case when not is_given and context.context_id is not null then
           {'attributes': context.attributes, 'application_name': context.application_name,
            'db_user': context.db_user, 'client_addr': context.client_addr,
            'backend_pid': context.backend_pid, 'statement': context.statement} end as context,
       case when is_given then added.since_lsn else event.lsn end as lsn,
       case when not is_given then event.commit_lsn end as commit_lsn,
       case when not is_given then event.seq end as seq,
       coalesce((select list({'value': change."to", 'at': tried."at", 'request_id': tried.request_id,
                              'outcome': tried.outcome, 'lsn': tried.lsn} order by tried.n)
                 from tried
                 where tried.source = owned.source and tried.relation_id = owned.relation_id
                   and tried.label = owned.label and tried.n > owned.owner_n
                   and tried.change."to" is distinct from owned.value), []) as rolled_back,
       owned.lossy and owned.value is null as lossy, owned.source, owned.relation_id
from owned
left join event on event.n = owned.owner_n
left join query_table(contexts_of) as context on context.source = event.source and context.context_id = event.context_id
left join added on added.source = owned.source and added.relation_id = owned.relation_id and added.col = owned.col
left join ddl on owned.is_given and ddl.source = owned.source and ddl.lsn = added.since_lsn
order by owned.source, owned.place, owned.label;

create or replace macro blame(rel, row_key, as_of := 18446744073709551615::ubigint) as table
with event as materialized (from _events(rel, [row_key::varchar], as_of)),
shape as materialized (from _shapes(rel, as_of)),
context as materialized (from _contexts('event'))
from _blame_of('event', 'shape', 'context', [row_key::varchar]);
