-- The changes and attempts that touch some rows, in the order of history.

-- Those with one of the keys, those that brought a row to one of them from another key (and the
-- former keys' own, recursively) or took it away, and the relation's truncates.
-- `old_key >= ''` instead of "is not null": Parquet's statistics let DuckDB skip on the former only.
-- `unnest(list(…))` of a set makes the planner take it for small, so that it reads the changes with
-- the set as a filter instead of hashing all of them (30 ms instead of 1.4 s on a million changes).
create or replace macro _found(rel, keys) as table
with recursive
asked as materialized (select unnest(keys) as key),
target as materialized (from _targets(rel)),
former as materialized (
    select unnest((
        select list(distinct r.relation) from relations as r join target using (source, relation_id)
        where r.relation <> rel)) as name
),
moves as materialized (
    select * from changes where relation = rel and old_key >= ''
    union all
    select * from changes where relation in (select name from former) and old_key >= ''
),
lineage as (
    select key from asked
    union
    select moves.old_key from lineage join moves using (key) where moves.outcome = 'committed'
),
every_key as materialized (select unnest((select list(distinct key) from lineage)) as key),
touching as (
    select * from changes where relation = rel and key in (select key from every_key)
    union all
    select * from changes
    where relation in (select name from former) and key in (select key from every_key)
    union all
    select * from moves
    where old_key in (select key from every_key) and key not in (select key from every_key)
    union all
    select * from changes where relation = rel and key is null and op = 'truncate'
    union all
    select * from changes
    where relation in (select name from former) and key is null and op = 'truncate'
)
select touching.* from touching
where not exists (from target)
   or exists (from target where target.source = touching.source and target.relation_id = touching.relation_id);

-- The commits of the transactions in which the attempts of `found` were rolled back to a savepoint.
create or replace macro _landed(found) as table
with partial as materialized (
    select distinct source, xid, lsn from query_table(found) where outcome = 'savepoint_rolled_back'
),
xids as materialized (select unnest((select list(distinct xid) from partial)) as xid)
select partial.source, partial.xid, partial.lsn, min(t.commit_lsn) as landed_lsn
from partial
join transactions as t
  on t.source = partial.source and t.xid = partial.xid and t.commit_lsn > partial.lsn
where t.xid in (select xid from xids)
group by partial.source, partial.xid, partial.lsn;

-- What was found, up to a moment, numbered (`n`) in the order of history: by commit, and inside a
-- transaction by log position. An attempt whose savepoint was rolled back lies inside the
-- transaction that committed; one that was rolled back whole lies where it was made.
-- `found`, `landed` and `cut` name what the macros above gave.
create or replace macro _ordered(found, landed, cut) as table
with placed as (
    select f.* exclude (old_key), nullif(f.old_key, f.key) as old_key,
           coalesce(f.commit_lsn, l.landed_lsn, f.lsn) as place_lsn
    from query_table(found) as f
    left join query_table(landed) as l on l.source = f.source and l.xid = f.xid and l.lsn = f.lsn
       and f.outcome = 'savepoint_rolled_back'
)
select placed.*, row_number() over (
           order by placed.source, place_lsn, placed.lsn, (outcome = 'committed')::int, seq) as n
from placed join query_table(cut) as c on c.source = placed.source
where case
    when c.bound_at is null or outcome = 'committed' then place_lsn <= c.bound_lsn
    else "at" <= c.bound_at
end;

-- All of it at once, for DuckDB on its own.
create or replace macro _events(rel, keys, as_of) as table
with found as materialized (from _found(rel, keys)),
landed as materialized (from _landed('found')),
cut as materialized (from _cut(as_of))
from _ordered('found', 'landed', 'cut');
