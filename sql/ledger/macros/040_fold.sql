-- The fold: what a row's columns were before each of its committed changes.

-- The committed lives of the rows that bore one of `keys`, with what each event says of each column.
-- A life begins with an insert, a baseline or the arrival from another key, and ends with a
-- delete, a truncate or the departure to another key. A life that began with an arrival goes on
-- from the life that departed there: together they are one chain.
--
-- One row for each (chain, event, column), and one with col NULL for each (chain, event):
--   root_key, root_life  the chain: the asked key and the number of its life under that key
--   n                    the event (see _events); first_n the chain's first; last_n its last
--   is_ended             whether the chain has ended by `as_of`
--   bore_key, until_n    the key it had then, and the departure from it if it is a former one
--   step                 0 what the server said the value was before; 1 what the event set;
--                        2 what the end took away; 3 what ADD COLUMN gave; NULL for the event itself
--   value                the value (step 2: NULL)
--   prior                {v: …} what is known of the column before this step, NULL when nothing is
-- `events` and `shapes` name what _events and _shapes gave, so that a question reads storage once.
create or replace macro _fold(events, shapes, keys) as table
with recursive
event as materialized (from query_table(events)),
shape as materialized (from query_table(shapes)),
asked as materialized (select unnest(keys) as key),
committed as materialized (select * from event where outcome = 'committed'),
lineage as (
    select key from asked
    union
    select c.old_key from lineage join committed as c on c.key = lineage.key where c.old_key is not null
),
every_key as materialized (select distinct key from lineage),
touch as materialized (
    select n, source, relation_id, key, false as is_end, op = 'insert' or old_key is not null as is_start,
           old_key, op
    from committed where op in ('insert', 'update', 'baseline') and key in (select key from every_key)
    union all
    select n, source, relation_id, old_key, true, false, null, 'departure'
    from committed where op = 'update' and old_key in (select key from every_key)
    union all
    select n, source, relation_id, key, true, false, null, op
    from committed where op = 'delete' and key in (select key from every_key)
    union all
    select c.n, c.source, c.relation_id, k.key, true, false, null, c.op
    from committed as c cross join every_key as k where c.op = 'truncate'
),
marked as (
    select *, is_start or lag(is_end, 1, true) over (partition by source, relation_id, key order by n, is_end)
              as begins
    from touch
),
lived as (
    select *, sum(begins::int) over (partition by source, relation_id, key order by n, is_end) as life from marked
),
-- A truncate says nothing of a row that was not there.
member as materialized (
    select * from lived
    qualify first_value(op) over (partition by source, relation_id, key, life order by n, is_end) <> 'truncate'
),
chain as (
    select distinct source, relation_id, key as root_key, life as root_life, key, life,
           null::bigint as departs_n
    from member where key in (select key from asked)
    union
    select chain.source, chain.relation_id, chain.root_key, chain.root_life, former.key, former.life, former.n
    from chain
    join member as arrival
      on arrival.source = chain.source and arrival.relation_id = chain.relation_id
     and arrival.key = chain.key and arrival.life = chain.life and arrival.old_key is not null
    join member as former
      on former.source = chain.source and former.relation_id = chain.relation_id
     and former.key = arrival.old_key and former.n = arrival.n and former.is_end
),
-- The departure of a former life is the arrival in the next: told once.
told as materialized (
    select chain.source, chain.relation_id, chain.root_key, chain.root_life, member.n, member.op, member.is_end,
           chain.key as bore_key, chain.departs_n as until_n,
           min(member.n) over same as first_n, max(member.n) over same as last_n,
           bool_or(member.is_end) over same as is_ended
    from chain join member using (source, relation_id, key, life)
    where member.n is distinct from chain.departs_n or not member.is_end
    window same as (partition by chain.source, chain.relation_id, chain.root_key, chain.root_life)
),
spoken as (
    select t.*, c.lsn, step, unnest(map_keys(image)) as name, unnest(map_values(image)) as value
    from told as t
    join committed as c using (n)
    cross join lateral (values (0, c.before), (1, case when t.op <> 'delete' then c.after end)) as i(step, image)
),
of_column as (
    select s.* exclude (name, lsn), coalesce(shape.col, other.col, 'name ' || s.name) as col,
           coalesce(shape.label, other.label, s.name) as label, coalesce(shape.place, other.place) as place,
           coalesce(shape.lossy, other.lossy, false) as lossy
    from spoken as s
    left join shape on shape.source = s.source and shape.relation_id = s.relation_id
        and shape.name = s.name and s.lsn >= shape.from_lsn and s.lsn < shape.until_lsn
    -- A column that the version of its time does not list is one that some version calls so.
    left join (
        select source, relation_id, name, arg_max(col, nth) as col, arg_max(label, nth) as label,
               arg_max(place, nth) as place, arg_max(lossy, nth) as lossy
        from shape group by source, relation_id, name
    ) as other on shape.col is null and other.source = s.source and other.relation_id = s.relation_id
        and other.name = s.name
),
-- A column that was added in a chain's life begins with what the table gave its older rows.
given as (
    select distinct t.*, 3 as step, shape.missing as value, shape.col, shape.label, shape.place, shape.lossy
    from told as t join committed as c using (n)
    join shape on shape.source = t.source and shape.relation_id = t.relation_id and shape.since_lsn > c.lsn
    where t.n = t.first_n
    qualify row_number() over (
        partition by t.source, t.relation_id, t.root_key, t.root_life, shape.col order by shape.nth desc) = 1
),
before_end as (
    select * from of_column
    union all by name
    select * from given
),
taken as (
    select t.*, 2 as step, null::varchar as value, b.col, b.label, b.place, b.lossy
    from told as t
    join (
        select source, relation_id, root_key, root_life, col, arg_max(label, n) as label,
               any_value(place) as place, bool_or(lossy) as lossy
        from before_end group by source, relation_id, root_key, root_life, col
    ) as b using (source, relation_id, root_key, root_life)
    join committed as c on c.n = t.n
    left join shape on shape.source = t.source and shape.relation_id = t.relation_id
        and shape.col = b.col and c.lsn >= shape.from_lsn and c.lsn < shape.until_lsn
    where t.is_end and t.op <> 'departure'
      and (shape.col is not null or not exists (from shape))
),
stepped as (
    select * from before_end
    union all by name
    select * from taken
)
select *, last_value(case when step <> 2 then {'v': value} end ignore nulls) over (
           partition by source, relation_id, root_key, root_life, col order by n, step
           rows between unbounded preceding and 1 preceding) as prior
from stepped
union all by name
select *, null::integer as step from told;

-- The attempts on the rows of a fold: on the asked keys, and on a former key while the row bore it.
create or replace macro _attempts_of(events, folded, keys) as table
with lived as materialized (
    select source, relation_id, root_key, bore_key, min(n) as from_n, max(n) as to_n,
           max(until_n) as until_n, bool_or(is_ended) as is_ended
    from query_table(folded) where step is null
    group by source, relation_id, root_key, root_life, bore_key
)
select e.*
from query_table(events) as e
where e.outcome <> 'committed'
  and (e.key in (select unnest(keys)) or e.old_key in (select unnest(keys))
       or exists (from lived as l
                  where l.source = e.source and l.relation_id = e.relation_id and e.n > l.from_n
                    and case when e.op = 'truncate'
                             then l.until_n is null and (not l.is_ended or e.n < l.to_n)
                             else l.bore_key in (e.key, e.old_key) and e.n < l.until_n end));

