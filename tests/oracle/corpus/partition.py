"""Partitioned tables: recorded under their root, wherever the row lies."""

from __future__ import annotations

from oracle.script import Case

_T = """
    create table t (id int, region text, v text, primary key (region, id)) partition by list (region);
    create table t_eu partition of t for values in ('eu', 'uk');
    create table t_us (v text, gone int, region text not null, id int not null);
    alter table t_us drop column gone;
    alter table t attach partition t_us for values in ('us');
    create table t_rest partition of t default;
    insert into t values (1, 'eu', 'a'), (2, 'us', 'b'), (3, 'jp', 'c');
"""

CASES = (
    Case(
        "partition_writes",
        setup=_T,
        steps="""
            insert into t values (4, 'eu', 'd'), (5, 'us', 'e');
            update t set v = v || '!';
            update t_us set v = 'direct';
            insert into t_us (id, region, v) values (6, 'us', 'direct');
            delete from t where id = 1;
            begin; update t set v = 'gone'; delete from t_us; insert into t values (9, 'uk', 'x'); rollback;
            begin; savepoint s; update t set v = 'gone'; rollback to s; update t set v = 'kept' where id = 2; commit;
        """,
    ),
    Case(
        "partition_row_movement",
        setup=_T,
        steps="""
            update t set region = 'us' where id = 1;
            update t set region = 'eu', v = 'moved' where id = 2;
            begin; update t set region = 'jp'; rollback;
            begin; savepoint s; update t set region = 'jp' where id = 2; rollback to s; update t set region = 'uk' where id = 2; commit;
        """,
    ),
    Case(
        "partition_truncate_root",
        setup=_T,
        steps="""
            truncate t; insert into t values (1, 'eu', 'new');
            begin; truncate t; insert into t values (2, 'us', 'x'); rollback;
            begin; insert into t values (7, 'us', 'x'); truncate t; insert into t values (8, 'us', 'y'); commit;
        """,
    ),
    Case(
        "partition_truncate_before_others",
        # What was truncated whole is judged by the partitions of that moment, not of a later one.
        setup=_T + "create table loose (id int not null, region text not null, v text);",
        steps="""
            truncate t;
            create table t_cn partition of t for values in ('cn'); insert into t values (1, 'cn', 'x');
            truncate t;
            alter table t attach partition loose for values in ('kr'); insert into t values (2, 'kr', 'x');
            truncate t;
            alter table t detach partition t_us; insert into t values (3, 'eu', 'x');
            truncate t;
            drop table t_cn; insert into t values (4, 'eu', 'x');
            truncate t;
            create table t_ar partition of t for values in ('ar');
        """,
        expect="""
            t truncate -
            t insert ["cn","1"]
            t truncate -
            t insert ["kr","2"]
            t truncate -
            t insert ["eu","3"]
            t truncate -
            t insert ["eu","4"]
            t truncate -
        """,
    ),
    Case(
        "partition_truncate_leaf",
        setup=_T,
        steps="truncate t_eu; insert into t values (1, 'eu', 'new'); truncate t_us, t_rest;",
    ),
    Case(
        "partition_nested",
        setup="""
            create table t (id int, d date, kind text, v text, primary key (id, d, kind)) partition by range (d);
            create table t_23 partition of t for values from ('2023-01-01') to ('2024-01-01') partition by hash (id);
            create table t_23_0 partition of t_23 for values with (modulus 2, remainder 0);
            create table t_23_1 partition of t_23 for values with (modulus 2, remainder 1);
            create table t_24 partition of t for values from ('2024-01-01') to ('2025-01-01') partition by list (kind);
            create table t_24_a partition of t_24 for values in ('a');
            create table t_24_b partition of t_24 for values in ('b');
        """,
        steps="""
            insert into t select i, '2023-06-01'::date + i * 30, case when i % 2 = 0 then 'a' else 'b' end, 'r' || i from generate_series(1, 15) i;
            update t set v = v || '!' where id % 3 = 0;
            update t set d = '2024-03-03' where id < 4; update t set id = id + 100 where id in (4, 5);
            delete from t where id = 10; insert into t_24 values (50, '2024-05-05', 'b', 'mid');
            begin; truncate t_24; rollback;
            truncate t;
        """,
    ),
    Case(
        "partition_new_ones",
        setup=_T,
        steps="""
            create table t_cn partition of t for values in ('cn');
            insert into t values (20, 'cn', 'x'); update t set v = 'y' where id = 20;
            begin; create table t_br partition of t for values in ('br'); insert into t values (21, 'br', 'x'); commit;
            begin; create table t_ar partition of t for values in ('ar'); insert into t values (22, 'ar', 'x'); rollback;
            update t set v = 'z' where region in ('cn', 'br'); begin; delete from t where region = 'cn'; rollback; delete from t where region = 'br';
        """,
    ),
    Case(
        "partition_attach_detach",
        setup=_T
        + "create table loose (id int not null, region text not null, v text); insert into loose values (30, 'kr', 'loose');",
        steps="""
            alter table t attach partition loose for values in ('kr');
            update t set v = 'attached' where id = 30;
            alter table t detach partition t_us;
            update t_us set v = 'unseen';
            update t set v = v || '!';
        """,
    ),
    Case("partition_drop_leaf", setup=_T, steps="drop table t_eu; update t set v = 'left';"),
    Case(
        "partition_ddl",
        setup=_T,
        steps="""
            alter table t add column n int default 7; update t set v = 'x' where id = 1; insert into t (id, region) values (9, 'us');
            alter table t rename column v to w; update t set w = 'renamed' where id = 2;
            alter table t drop column n; update t set w = 'dropped' where id = 3;
            alter table t add column m text default 'constant'; update t set w = 'again' where id = 9;
            alter table t_us rename to t_usa; update t set w = 'leaf renamed' where region = 'us';
            alter table t rename to root; update root set w = 'root renamed';
        """,
    ),
    Case(
        "partition_keyless_full",
        setup="""
            create table t (region text, v text) partition by list (region);
            create table t_eu partition of t for values in ('eu'); create table t_us partition of t for values in ('us');
            alter table t_eu replica identity full; alter table t_us replica identity full;
            insert into t values ('eu', 'a'), ('eu', 'a'), ('us', null);
        """,
        # The root has no identity of its own; its leaves have.
        steps="update t set v = 'x' where region = 'eu'; insert into t values ('us', 'n'); update t set region = 'us'; delete from t where v is null;",
    ),
    Case(
        "partition_and_inheritance",
        setup="create table t (id int primary key, v text); create table child (extra text, primary key (id)) inherits (t); insert into child values (1, 'c', 'e'); insert into t values (1, 'p');",
        track=("t", "child"),
        steps="update t set v = v || '!'; insert into child values (2, 'x', 'y'); delete from t where id = 2; update only t set v = 'only'; truncate t; ",
    ),
)
