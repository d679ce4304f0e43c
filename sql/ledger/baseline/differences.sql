-- What differs between the ledger's state just before the copy's position and the copy. Rows without a
-- key are compared as a bag.
create or replace temp table baseline_differences as
with state as materialized (
    select key, "row", list_sort(map_entries("row")) as entries
    from table_at($relation, $before_lsn::ubigint) where source = $source
),
copy as materialized (select key, after, list_sort(map_entries(after)) as entries from baseline_rows),
bag as (
    (select 'baseline' as op, after from baseline_rows where key is null
     except all select 'baseline', "row" from state where key is null)
    union all
    (select 'delete', "row" from state where key is null
     except all select 'delete', after from baseline_rows where key is null)
),
difference as (
    select case when copy.key is null then 'delete' else 'baseline' end as op,
           coalesce(copy.key, state.key) as key, null::map(varchar, varchar) as before, copy.after
    from (from copy where key is not null) as copy
    full join (from state where key is not null) as state using (key)
    where copy.entries is distinct from state.entries
    union all
    select op, null, case when op = 'delete' then after end, case when op = 'baseline' then after end from bag
)
select row_number() over (order by op, key) - 1 as ordinal, * from difference;
