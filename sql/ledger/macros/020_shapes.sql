-- What a relation's columns were called and when: columns are told apart by attribute number, so
-- that a renamed column is still the same one and a re-created one is another.

-- The relations a name means: those that bear it now, else those that ever bore it; `users` is
-- public.users. A partition means its root. One row for each (source, relation_id).
create or replace macro _targets(rel) as table
with version as (
    select source, relation_id, coalesce(root_id, relation_id) as root_id, relation as name, lsn,
           row_number() over (partition by source, relation_id order by lsn desc) as age
    from relations
),
named as (
    select *, bool_or(age = 1) over () as is_current from version where name in (rel, 'public.' || rel)
)
select source, root_id as relation_id, max(lsn) as named_lsn
from named
where age = 1 or not is_current
group by source, root_id;

-- What a moment means for each source: the newest commit, baseline or schema change up to it, and for
-- attempts its time.
create or replace macro _cut(as_of) as table
with named as (select source from positions union select source from baselines union select source from relations),
up_to as (
    select source, max(lsn) as lsn
    from (
        select source, commit_lsn as lsn from transactions where "at" <= _moment_time(as_of)
        union all
        select source, lsn from ddl where "at" <= _moment_time(as_of)
        union all
        select source, lsn - 1 from baselines where "at" <= _moment_time(as_of)
    )
    group by source
)
select named.source, coalesce(_moment_lsn(as_of), up_to.lsn, 0::ubigint) as bound_lsn, _moment_time(as_of) as bound_at
from named left join up_to on up_to.source = named.source;

-- Every column of every version of the relations named `rel`, as seen at `as_of`:
--   from_lsn, until_lsn  the changes the version holds for (the first one for older ones too)
--   name                 the column's name in that version
--   col                  its identity; label: its name in the newest version up to `as_of`, or its last
--   place                its place in that newest version, NULL for a column dropped by then
--   since_lsn            where the column first appears, 0 if with the relation
--   missing              the value that rows older than the column have
--   lossy                whether its NULLs may have been NaN or infinite
create or replace macro _shapes(rel, as_of) as table
with version as (
    select distinct on (r.source, r.relation_id, r.lsn) r.*
    from relations as r
    join _targets(rel) as target on target.source = r.source and target.relation_id = r.relation_id
),
ranked as (
    select version.*,
           row_number() over same as nth,
           lead(lsn, 1, 18446744073709551615) over same as until_lsn
    from version
    window same as (partition by source, relation_id order by lsn)
),
newest as (
    select r.source, r.relation_id, max(r.nth) as nth
    from ranked as r
    left join _cut(as_of) as cut on cut.source = r.source
    where r.nth = 1 or r.lsn <= cut.bound_lsn
    group by r.source, r.relation_id
),
listed as (
    select source, relation_id, nth, lsn, until_lsn, missing, lossy,
           unnest(columns) as shape, generate_subscripts(columns, 1) as place
    from ranked
),
known as (
    select l.source, l.relation_id, l.nth, l.lsn, l.until_lsn, l.place, shape.name as name, shape.type as type,
           nullif(shape.attnum, 0) as attnum, l.missing[shape.name] as missing,
           list_contains(coalesce(l.lossy, []), shape.name) as lossy
    from listed as l
),
identified as (
    -- A version that does not know attribute numbers borrows them from one that does, by name.
    select *, coalesce((coalesce(attnum, max(attnum) over (partition by source, relation_id, name)))::varchar,
                       'name ' || name) as col
    from known
),
labelled as (
    select i.*, n.nth as newest_nth,
           arg_max(name, i.nth) filter (i.nth <= n.nth) over of_column as label_now,
           min(i.nth) over of_column as first_nth,
           min(lsn) over of_column as first_lsn,
           max(missing) over of_column as any_missing,
           bool_or(lossy) over of_column as any_lossy,
           max(case when i.nth = n.nth then place end) over of_column as place_now
    from identified as i join newest as n using (source, relation_id)
    window of_column as (partition by source, relation_id, col)
)
select source, relation_id, nth, case when nth = 1 then 0::ubigint else lsn end as from_lsn, until_lsn,
       name, col, coalesce(label_now, name) as label, place_now as place,
       case when first_nth = 1 then 0::ubigint else first_lsn end as since_lsn,
       any_missing as missing, any_lossy as lossy, type
from labelled;
