-- %(relation_id)s, %(relation)s. The members are described after the fact: as not tracked.
with members as materialized (
    select pg_catalog.array_agg(m.relation_id) as list from flux.member m where m.root_id = %(relation_id)s::oid
), done as materialized (
    select flux.untrack(%(relation_id)s::oid), m.list from members m
)
select flux.announce('UNTRACK', %(relation)s::text, d.list, '{}', '{}') from done d
