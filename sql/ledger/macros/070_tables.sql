-- Whole tables as of a moment: `table_at`, `table_diff`.

-- The committed changes of the relation that `rel` names as of a moment, up to it; `ord` is their order.
create or replace macro _committed(rel, as_of) as table
with target as materialized (from _target(rel, as_of)),
cut as materialized (from _cut(as_of)),
named as materialized (
    select unnest(list_distinct([rel] || coalesce(
        (select list(r.relation) from relations as r join target using (source, relation_id)), []))) as name
)
select c.*, c.commit_lsn::uhugeint * 4294967296::uhugeint + c.seq as ord
from changes as c join cut on cut.source = c.source
where c.relation in (select name from named) and c.outcome = 'committed' and c.commit_lsn <= cut.bound_lsn
  and coalesce(c.source = (select source from target) and c.relation_id = (select relation_id from target), true);

-- How an image of each version of a relation reads in the columns of the newest version in `shapes`.
create or replace macro _readings(shapes) as table
with shape as materialized (from query_table(shapes)),
version as (select distinct source, relation_id, nth, from_lsn, until_lsn from shape),
kept as (
    select distinct source, relation_id, col, label, place, missing, lossy from shape where place is not null
)
select v.source, v.relation_id, v.from_lsn, v.until_lsn,
       list({'name': s.name, 'label': k.label, 'missing': k.missing, 'lossy': k.lossy} order by k.place) as reading,
       list(case when s.name = k.label then k.label end order by k.place) as plain
from version as v
join kept as k on k.source = v.source and k.relation_id = v.relation_id
left join shape as s on s.source = v.source and s.relation_id = v.relation_id and s.nth = v.nth and s.col = k.col
group by all;

-- An image read so: {name, label, missing}[] as `reading`; NULL when there are no versions.
create or replace macro _read(image, reading, plain) as
    case when reading is null or map_keys(image) = plain then image
         else map_from_entries(list_transform(
             list_filter(reading, lambda c: c.name is null or map_contains(image, c.name)),
             lambda c: {'k': c.label, 'v': case when c.name is null then c.missing else image[c.name] end}))
    end;

-- The last change of each row with a key that is there, and where its present life begins (after the
-- last delete, departure or truncate, at the last insert). `committed` names what _committed gave.
create or replace macro _last_words(committed) as table
with ended as (
    select source, relation_id, max(ord) as ord from query_table(committed) where op = 'truncate' group by all
),
touch as (
    select source, relation_id, key, ord, op = 'delete' as is_end, op in ('insert', 'delete') as is_bound,
           len(coalesce(unchanged, [])) > 0 as is_partial
    from query_table(committed) where key is not null
    union all
    select source, relation_id, old_key, ord, true, true, false
    from query_table(committed) where old_key is not null and old_key <> key
),
last as (
    select source, relation_id, key, max(ord) as ord, arg_max(is_end, ord) as is_end,
           arg_max(is_partial, ord) as is_partial, max(ord) filter (is_bound) as bound_ord
    from touch group by source, relation_id, key
)
select last.source, last.relation_id, last.key, last.ord, last.is_partial,
       greatest(coalesce(last.bound_ord, 0), coalesce(ended.ord, 0)) as began_ord
from last left join ended on ended.source = last.source and ended.relation_id = last.relation_id
where not last.is_end and last.ord > coalesce(ended.ord, 0);

-- Where a column that a row's last change left out (unchanged TOAST) was last sent in the row's life:
-- `from_ord`, under the name `from_name`. NULL where this life under this key does not tell: then either
-- ADD COLUMN gave it (is_given, `missing`) or the row's earlier keys must be read (see _table_at). A delete
-- sends nothing: after it a life may begin with an arrival.
-- `pairs` has source, relation_id, key, ord, began_ord, lsn, name: the column left out.
create or replace macro _sent(pairs, committed, shapes) as table
with shape as materialized (from query_table(shapes)),
pair as (
    select p.*, coalesce(s.col, 'name ' || p.name) as col, coalesce(s.since_lsn, 0) as since_lsn, s.missing
    from query_table(pairs) as p
    left join shape as s on s.source = p.source and s.relation_id = p.relation_id and s.name = p.name
        and p.lsn >= s.from_lsn and p.lsn < s.until_lsn
),
said as (
    select p.source, p.relation_id, p.key, p.ord, p.name, p.since_lsn, p.missing, c.ord as said_ord, c.lsn as said_lsn,
           c.old_key is not null as is_arrival,
           case when p.col = 'name ' || p.name then p.name else s.name end as said_name, c.unchanged
    from pair as p
    join query_table(committed) as c on c.source = p.source and c.relation_id = p.relation_id
        and c.key = p.key and c.ord < p.ord and c.ord >= p.began_ord and c.op <> 'delete'
    left join shape as s on s.source = c.source and s.relation_id = c.relation_id and s.col = p.col
        and c.lsn >= s.from_lsn and c.lsn < s.until_lsn
)
select source, relation_id, key, ord, name,
       max(said_ord) filter (is_sent) as from_ord, arg_max(said_name, said_ord) filter (is_sent) as from_name,
       any_value(since_lsn) > arg_min(said_lsn, said_ord) and not arg_min(is_arrival, said_ord) as is_given,
       any_value(missing) as missing
from (
    select *, said_name is not null and not list_contains(coalesce(unchanged, []), said_name) as is_sent from said
)
group by source, relation_id, key, ord, name;

-- A row with NULL for the special numbers of its lossy columns: a plugin that sends NaN as NULL sends it so
-- in the old image of a row that a baseline read as NaN.
create or replace macro _without_special(row_map, reading) as
    case when len(list_filter(reading, lambda c: c.lossy)) > 0
         then map_from_entries(list_transform(map_entries(row_map), lambda e: {'k': e.key, 'v':
             case when e.value in ('NaN', 'Infinity', '-Infinity')
                       and len(list_filter(reading, lambda c: c.lossy and c.label = e.key)) > 0
                  then null else e.value end}))
         else row_map
    end;

-- A table without a key is a bag of rows: each change takes its whole old image out and puts its
-- whole new one in. `committed`, `readings` name what _committed and _readings gave.
create or replace macro _bag(committed, readings) as table
with ended as (
    select source, relation_id, max(ord) as ord from query_table(committed) where op = 'truncate' group by all
),
image as (
    select source, relation_id, ord, lsn, before as image, -1 as count
    from query_table(committed) where before is not null and op in ('update', 'delete')
    union all
    select source, relation_id, ord, lsn,
           case when len(coalesce(unchanged, [])) > 0 and before is not null then map_concat(before, after) else after end,
           1
    from query_table(committed) where after is not null
),
reading as materialized (
    select i.source, i.relation_id, i.ord, i.count, _read(i.image, r.reading, r.plain) as "row", r.reading
    from image as i
    left join query_table(readings) as r
      on r.source = i.source and r.relation_id = i.relation_id and i.lsn >= r.from_lsn and i.lsn < r.until_lsn
    left join ended on ended.source = i.source and ended.relation_id = i.relation_id
    where i.ord > coalesce(ended.ord, 0)
),
counted as (
    select source, relation_id, _without_special("row", reading) as "row", any_value(reading) as reading,
           sum(count) as count
    from reading group by source, relation_id, _without_special("row", reading)
)
select source, relation_id, null::varchar as key, "row", reading, unnest(range(count::bigint)) as nth from counted
where count > 0;

-- The columns of a row whose NULL may have been NaN or infinite.
create or replace macro _lossy_nulls(row_map, reading) as
    coalesce(list_transform(
        list_filter(reading, lambda c: c.lossy and row_map[c.label] is null and map_contains(row_map, c.label)),
        lambda c: c.label), []);

-- All rows of a table as of a moment, in the columns it has as of `named_at`.
create or replace macro _table_at(rel, as_of, named_at) as table
with recursive
shape as materialized (from _shapes(rel, named_at)),
reading as materialized (from _readings('shape')),
committed as materialized (
    select source, relation_id, key, old_key, ord, lsn, op, unchanged
    from _committed(rel, as_of) where key is not null or op = 'truncate'
),
word as materialized (from _last_words('committed')),
last as materialized (
    select c.source, c.relation_id, c.key, c.ord, c.lsn, c.before, c.after, c.unchanged, word.is_partial, word.began_ord
    from _committed(rel, as_of) as c
    join word on word.source = c.source and word.relation_id = c.relation_id and word.ord = c.ord
             and word.key = c.key
),
pair as materialized (
    select source, relation_id, key, ord, began_ord, lsn,
           unnest(list_filter(unchanged, lambda n: not coalesce(map_contains(before, n), false))) as name
    from last where is_partial
),
sent as materialized (from _sent('pair', 'committed', 'shape')),
-- A row whose earlier keys must be read is folded event by event; they are few.
deep as materialized (
    select distinct pair.source, pair.relation_id, pair.key
    from pair left join sent using (source, relation_id, key, ord, name)
    where sent.from_ord is null and not coalesce(sent.is_given, false)
),
filled as (
    select sent.source, sent.relation_id, sent.key,
           map_from_entries(list({'k': sent.name, 'v': case when sent.from_ord is null then sent.missing
                                                            else c.after[sent.from_name] end})) as extra
    from sent
    left join _committed(rel, as_of) as c
      on c.source = sent.source and c.relation_id = sent.relation_id and c.ord = sent.from_ord and c.key = sent.key
    group by sent.source, sent.relation_id, sent.key
),
-- Materialized, because a lambda would work out the image anew for each of its columns.
image as materialized (
    select last.source, last.relation_id, last.key, last.lsn,
           case when last.is_partial
                then map_concat(coalesce(last.before, map {}), coalesce(filled.extra, map {}), last.after)
                else last.after end as image
    from last
    left join filled on filled.source = last.source and filled.relation_id = last.relation_id and filled.key = last.key
    where not exists (from deep where deep.source = last.source and deep.relation_id = last.relation_id
                      and deep.key = last.key)
),
known as (
    select i.source, i.relation_id, i.key, _read(i.image, r.reading, r.plain) as "row", r.reading
    from image as i
    left join reading as r
      on r.source = i.source and r.relation_id = i.relation_id and i.lsn >= r.from_lsn and i.lsn < r.until_lsn
),
deep_key as (
    select source, relation_id, key from deep
    union
    select c.source, c.relation_id, c.old_key
    from deep_key as d join committed as c
      on c.source = d.source and c.relation_id = d.relation_id and c.key = d.key
    where c.old_key is not null
),
deep_ord as materialized (
    select c.ord
    from committed as c join deep_key as d
      on c.source = d.source and c.relation_id = d.relation_id and c.key = d.key
    union
    select c.ord
    from (from committed where old_key is not null) as c join deep_key as d
      on c.source = d.source and c.relation_id = d.relation_id and c.old_key = d.key
    union
    select ord from committed where op = 'truncate' and exists (from deep)
),
event as materialized (
    select c.* exclude (old_key), nullif(c.old_key, c.key) as old_key, row_number() over (order by c.ord) as n
    from _committed(rel, as_of) as c where c.ord in (select unnest((select list(ord) from deep_ord)))
),
folded as (
    from _rows_of('event', 'shape', coalesce((select list(key) from deep), []))
),
loose as materialized (
    select source, relation_id, ord, lsn, op, before, after, unchanged
    from _committed(rel, as_of) where key is null
)
select source, relation_id, key, "row", _lossy_nulls("row", reading) as lossy from known
union all
select source, relation_id, key, "row", lossy from folded
union all
select source, relation_id, key, "row", _lossy_nulls("row", reading) from _bag('loose', 'reading');

create or replace macro table_at(rel, as_of) as table
from _table_at(rel, as_of, as_of) order by key;

-- What makes one row into another: the columns that differ, NULL and absent being the same.
create or replace macro _changed(old, new) as
    map_from_entries(list_transform(
        list_filter(
            list_distinct(list_concat(coalesce(map_keys(new), []), coalesce(map_keys(old), []))),
            lambda c: old[c] is distinct from new[c]),
        lambda c: {'k': c, 'v': {'from': old[c], 'to': new[c]}}));

-- The rows of a table that differ between two moments, in the columns of the later one. Rows without
-- a key are there or not there.
create or replace macro table_diff(rel, since, until) as table
with old as materialized (from _table_at(rel, since, until)),
new as materialized (from _table_at(rel, until, until)),
keyed as (
    select coalesce(new.source, old.source) as source, coalesce(new.relation_id, old.relation_id) as relation_id,
           coalesce(new.key, old.key) as key,
           case when old.key is null then 'insert' when new.key is null then 'delete' else 'update' end as op,
           _changed(old."row", new."row") as changed, coalesce(old.lossy, []) as old_lossy,
           coalesce(new.lossy, []) as new_lossy
    from (from old where key is not null) as old
    full join (from new where key is not null) as new
      on new.source = old.source and new.relation_id = old.relation_id and new.key = old.key
    where old."row" is distinct from new."row"
),
bag as (
    (select source, relation_id, 'insert' as op, "row" from new where key is null
     except all select source, relation_id, 'insert', "row" from old where key is null)
    union all
    (select source, relation_id, 'delete', "row" from old where key is null
     except all select source, relation_id, 'delete', "row" from new where key is null)
)
select source, relation_id, key, op, changed, list_distinct(list_concat(old_lossy, new_lossy)) as lossy
from keyed where op <> 'update' or cardinality(changed) > 0
union all
select source, relation_id, null, op,
       case when op = 'insert' then _changed(null::map(varchar, varchar), "row")
            else _changed("row", null::map(varchar, varchar)) end,
       []::varchar[]
from bag
order by key, op;
