-- Whole tables as of a moment: `table_at`, `table_diff`.

-- The committed changes of the relation that `rel` names as of a moment, up to it; `ord` is their order.
create or replace macro _committed(rel, as_of) as table
with target as materialized (from _target(rel, as_of)),
cut as materialized (from _cut(as_of)),
named as materialized (
    select rel as name
    union
    select r.relation from relations as r join target using (source, relation_id)
    limit 10000
)
select c.*, c.commit_lsn::uhugeint * 4294967296::uhugeint + c.seq as ord
from changes as c join cut on cut.source = c.source
where c.relation in (select name from named) and c.outcome = 'committed' and c.commit_lsn <= cut.bound_lsn
  and (not exists (from target)
       or exists (from target where target.source = c.source and target.relation_id = c.relation_id));

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

-- Rows with a key whose last change says all of them: it left no column out.
-- `committed`, `readings` name what _committed and _readings gave.
create or replace macro _last_words(committed) as table
with ended as (
    select source, relation_id, max(ord) as ord from query_table(committed) where op = 'truncate' group by all
),
touch as (
    select source, relation_id, key, ord, op = 'delete' as is_end, len(coalesce(unchanged, [])) > 0 as is_partial
    from query_table(committed) where key is not null
    union all
    select source, relation_id, old_key, ord, true, false
    from query_table(committed) where old_key is not null and old_key <> key
),
last as (
    select source, relation_id, key, max(ord) as ord, arg_max(is_end, ord) as is_end,
           arg_max(is_partial, ord) as is_partial
    from touch group by source, relation_id, key
)
select last.source, last.relation_id, last.key, last.ord, last.is_partial
from last left join ended on ended.source = last.source and ended.relation_id = last.relation_id
where not last.is_end and last.ord > coalesce(ended.ord, 0);

-- A table without a key is a bag of rows: each change takes its whole old image out and puts its
-- whole new one in.
create or replace macro _bag(committed, readings) as table
with ended as (
    select source, relation_id, max(ord) as ord from query_table(committed) where op = 'truncate' group by all
),
image as (
    select source, relation_id, ord, lsn, before as image, -1 as count
    from query_table(committed) where key is null and before is not null and op in ('update', 'delete')
    union all
    select source, relation_id, ord, lsn,
           case when len(coalesce(unchanged, [])) > 0 and before is not null then map_concat(before, after) else after end,
           1
    from query_table(committed) where key is null and after is not null
),
counted as (
    select i.source, i.relation_id, _read(i.image, r.reading, r.plain) as "row",
           any_value(r.reading) as reading, sum(i.count) as count
    from image as i
    left join query_table(readings) as r
      on r.source = i.source and r.relation_id = i.relation_id and i.lsn >= r.from_lsn and i.lsn < r.until_lsn
    left join ended on ended.source = i.source and ended.relation_id = i.relation_id
    where i.ord > coalesce(ended.ord, 0)
    group by i.source, i.relation_id, _read(i.image, r.reading, r.plain)
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
with shape as materialized (from _shapes(rel, named_at)),
reading as materialized (from _readings('shape')),
committed as materialized (
    select source, relation_id, key, old_key, ord, lsn, op, unchanged,
           case when key is null then before end as before, case when key is null then after end as after
    from _committed(rel, as_of)
),
word as materialized (from _last_words('committed')),
partial as materialized (select list(key) as keys from word where is_partial),
whole as (
    select c.source, c.relation_id, c.key, _read(c.after, r.reading, r.plain) as "row", r.reading
    from _committed(rel, as_of) as c
    join word on word.source = c.source and word.relation_id = c.relation_id and word.ord = c.ord
             and word.key = c.key
    left join reading as r
      on r.source = c.source and r.relation_id = c.relation_id and c.lsn >= r.from_lsn and c.lsn < r.until_lsn
    where not word.is_partial
),
-- Rows whose last change left a column out (unchanged TOAST) need their earlier changes too.
found as materialized (
    select * from _found(rel, coalesce((select keys from partial), []), 1000000000000)
    where outcome = 'committed'
),
landed as materialized (from _landed('found')),
cut as materialized (from _cut(as_of)),
event as materialized (
    select e.* from _ordered('found', 'landed', 'cut') as e
    where not exists (from _target(rel, as_of))
       or exists (from _target(rel, as_of) as t where t.source = e.source and t.relation_id = e.relation_id)
),
folded as (
    from _rows_of('event', 'shape', coalesce((select keys from partial), []))
)
select source, relation_id, key, "row", _lossy_nulls("row", reading) as lossy from whole
union all
select source, relation_id, key, "row", lossy from folded
union all
select source, relation_id, key, "row", _lossy_nulls("row", reading) from _bag('committed', 'reading');

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
