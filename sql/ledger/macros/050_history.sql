-- What happened to rows: `history`, and for tables without a key `history_where`.

-- What each of some changes did by itself, from its own images: attempts, and rows without a key.
-- `events` and `shapes` name what _events and _shapes gave.
create or replace macro _own_changes(events, shapes) as table
with shape as materialized (from query_table(shapes)),
spoken as (
    select e.n, e.source, e.relation_id, e.lsn, e.op, is_after,
           unnest(map_keys(image)) as name, unnest(map_values(image)) as value
    from query_table(events) as e
    cross join lateral (values (false, e.before), (true, e.after)) as i(is_after, image)
),
of_column as (
    select s.n, s.op, s.is_after, s.value, coalesce(shape.col, 'name ' || s.name) as col,
           coalesce(shape.label, s.name) as label, shape.place as place, coalesce(shape.lossy, false) as lossy
    from spoken as s
    left join shape on shape.source = s.source and shape.relation_id = s.relation_id
        and shape.name = s.name and s.lsn >= shape.from_lsn and s.lsn < shape.until_lsn
),
compared as (
    select n, op, col, any_value(label) as label, any_value(place) as place, bool_or(lossy) as lossy,
           max(value) filter (not is_after) as old, max(value) filter (is_after) as new,
           bool_or(is_after) as has_new, bool_or(not is_after) as has_old
    from of_column group by n, op, col
)
select n,
       map_from_entries(list({'k': label, 'v': {'from': old, 'to': new}} order by place nulls last, label)) as changed,
       coalesce(list(label order by place) filter (lossy), []) as lossy
from compared
where old is distinct from new
  and (has_new or op = 'delete') and (has_old or op <> 'update' or old is distinct from new)
group by n;

-- One row for each change of the rows with one of `keys`, committed or not, oldest first, and the gaps
-- of the source. `events`, `shapes`, `contexts_of` and `cut` name what their macros gave.
--   changed   column -> {from, to}, for a committed change against the state the ledger had
--   unknown   columns of `changed` whose `from` the ledger does not know
--   mismatch  columns of which the server sent another old value than the ledger had: a broken ledger
--   lossy     columns of `changed` whose NULLs may have been NaN or infinite
create or replace macro _history_of(events, shapes, contexts_of, cut, keys) as table
with event as materialized (from query_table(events)),
fold as materialized (from _fold(events, shapes, keys)),
step as (
    select *, prior.v as old,
           step = 1 and (value is distinct from prior.v)
           or step = 2 and prior.v is not null as is_change
    from fold
    -- A row that came back to a key it had has its first stay told in both chains.
    qualify root_life = max(root_life) over (partition by source, relation_id, root_key, n)
),
told as (
    select n, root_key,
           map_from_entries(list({'k': label, 'v': {'from': old, 'to': value}} order by place nulls last, label)
                            filter (is_change)) as changed,
           coalesce(list(label order by place) filter (is_change and prior is null and not (n = first_n and op in ('insert', 'baseline'))), []) as unknown,
           coalesce(list(label order by place)
                    filter (step = 0 and prior is not null and value is distinct from old), []) as mismatch,
           coalesce(list(label order by place) filter (is_change and lossy), []) as lossy
    from step
    group by n, root_key
),
attempt as materialized (from _attempts_of(events, 'fold', keys)),
tried as (
    select a.n, coalesce(own.changed, map {}) as changed, []::varchar[] as unknown, []::varchar[] as mismatch,
           coalesce(own.lossy, []) as lossy
    from attempt as a left join _own_changes('attempt', shapes) as own using (n)
),
shown as (
    select n, root_key, coalesce(changed, map {}) as changed, unknown, mismatch, lossy from told
    union all by name
    select * from tried
),
lines as (
    select event.source, event.relation, event.relation_id, event.key, event.old_key, event."at", event.op,
           event.outcome, event.request_id, event.actor,
           case when context.context_id is not null then
               {'attributes': context.attributes, 'application_name': context.application_name,
                'db_user': context.db_user, 'client_addr': context.client_addr,
                'backend_pid': context.backend_pid, 'statement': context.statement} end as context,
           event.lsn, event.commit_lsn, event.seq, event.xid, event.subxid, event.context_id,
           shown.changed, shown.unknown, shown.mismatch, shown.lossy, event.place_lsn, event.n
    from shown
    join event using (n)
    left join query_table(contexts_of) as context on context.source = event.source and context.context_id = event.context_id
)
select lines.*, null as gap from lines
union all by name
select g.source, g.from_at as "at", 'gap' as op, g.from_lsn as lsn, g.from_lsn as place_lsn,
       {'from_lsn': g.from_lsn, 'to_lsn': g.to_lsn, 'from_at': g.from_at, 'to_at': g.to_at,
        'reason': g.reason} as gap
from gaps as g join query_table(cut) as c using (source)
where case when c.bound_at is null then g.from_lsn <= c.bound_lsn else g.from_at <= c.bound_at end
  and (g.source in (select source from query_table(shapes)) or not exists (from query_table(shapes)))
order by source, place_lsn, n nulls last;

-- The contexts of some events.
create or replace macro _contexts(events) as table
select c.* from contexts as c
where c.context_id in (select unnest((select list(distinct context_id) from query_table(events))))
qualify row_number() over (partition by c.source, c.context_id) = 1;

-- The history of one row. `as_of` is a log position or a time; without it, up to now.
create or replace macro history(rel, row_key, as_of := 18446744073709551615::ubigint) as table
with event as materialized (from _events(rel, [row_key::varchar], as_of)),
shape as materialized (from _shapes(rel, as_of)),
context as materialized (from _contexts('event')),
cut as materialized (from _cut(as_of))
select * exclude (place_lsn, n)
from _history_of('event', 'shape', 'context', 'cut', [row_key::varchar]);
