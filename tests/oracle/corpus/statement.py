"""Ways to write: COPY, ON CONFLICT, MERGE, cascades, statements of many rows, rules of no change."""

from __future__ import annotations

from oracle.script import Case

_T = "create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b'), (3, 'c');"

CASES = (
    Case(
        "statement_copy",
        setup=_T,
        steps="""
            @ a copy
            copy t from stdin
            10	plain
            11	\\N
            12	tab\\there\\nand line
            13	back\\\\slash
            @ a
            begin;
            @ a copy
            copy t from stdin
            20	gone
            @ a
            rollback;
        """,
        expect="""
            t insert 10
            t insert 11
            t insert 12
            t insert 13
            t insert 20 rolled_back
        """,
    ),
    Case(
        "statement_on_conflict",
        setup=_T,
        steps="""
            insert into t values (1, 'x'), (9, 'new') on conflict (id) do nothing;
            insert into t values (1, 'x'), (8, 'new') on conflict (id) do update set v = t.v || excluded.v;
            begin; insert into t values (1, 'y') on conflict (id) do update set v = excluded.v; rollback;
        """,
        expect="""
            t insert 9
            t update 1
            t insert 8
            t update 1 rolled_back
        """,
    ),
    Case(
        "statement_merge",
        setup=_T,
        steps="""
            merge into t using (values (1, 'm'), (2, null), (7, 'seven')) s (id, v) on t.id = s.id
            when matched and s.v is null then delete when matched then update set v = s.v
            when not matched then insert values (s.id, s.v);
            begin; merge into t using (values (1)) s (id) on t.id = s.id when matched then delete; rollback;
        """,
    ),
    Case(
        "statement_cascade",
        setup=_T
        + """
            create table child (id int primary key, t_id int references t on delete cascade on update cascade);
            create table grandchild (id int primary key, c_id int references child on delete set null);
            insert into child values (10, 1), (11, 1), (12, 2); insert into grandchild values (100, 10), (101, 12);
        """,
        track=("t", "child", "grandchild"),
        steps="""
            begin; select flux.tag('gone'); delete from t where id = 1; rollback;
            begin; select flux.tag('done'); delete from t where id = 1; commit;
            update t set id = 20 where id = 2;
            begin; savepoint s; delete from t; rollback to s; commit;
        """,
    ),
    Case(
        "statement_many_rows",
        setup="create table t (id int primary key, v text);",
        steps="""
            insert into t select i, 'row ' || i from generate_series(1, 3000) i;
            update t set v = v || '!' where id % 2 = 0;
            delete from t where id % 3 = 0;
            begin; update t set v = 'gone'; delete from t where id < 500; rollback;
            update t set id = id + 10000 where id % 5 = 0;
        """,
    ),
    Case(
        "statement_without_change",
        setup=_T,
        steps="""
            update t set v = v; update t set v = 'x' where false; delete from t where false; select * from t for update;
            begin; commit; begin; rollback; begin; savepoint s; release s; commit;
            update t set id = id;
        """,
        expect="""
            t update 1
            t update 2
            t update 3
            t update 1
            t update 2
            t update 3
        """,
    ),
    Case(
        "statement_with_writing_cte",
        setup=_T + "create table archive (id int primary key, v text);",
        track=("t", "archive"),
        steps="""
            with gone as (delete from t where id < 3 returning *) insert into archive select * from gone;
            begin; with gone as (delete from archive returning *), kept as (insert into t select * from gone returning *)
            update t set v = 'touched' where id = 3; rollback;
        """,
    ),
    Case(
        "statement_untracked_beside",
        # Changes of tables that nobody tracks are none of ours, in the same transaction too.
        setup=_T + "create table other (id int primary key, v text); create table no_key (v text);",
        steps="""
            begin; insert into other values (1, 'x'); insert into t values (10, 'x'); insert into no_key values ('a');
            update other set v = 'y'; delete from no_key; commit;
            insert into other values (2, 'alone'); truncate other;
            create temporary table tmp (id int primary key); insert into tmp values (1);
            create unlogged table fast (id int primary key); insert into fast values (1);
        """,
        expect="""
            t insert 10
        """,
    ),
    Case(
        "statement_replica_role",
        # Under session_replication_role = replica no trigger fires: the changes are there, untagged.
        setup=_T,
        steps="""
            set session_replication_role = replica; select set_config('application_name', 'loader', false);
            create table marker (id int); drop table marker;
        """,
    ),
    Case(
        "statement_track_later",
        setup=_T,
        track=(),
        steps="""
            update t set v = 'unseen' where id = 1;
            @ track t rollbacks
            @ a
            update t set v = 'seen' where id = 1;
            begin; delete from t where id = 2; rollback;
            @ untrack t
            @ a
            update t set v = 'unseen' where id = 1;
        """,
        expect="""
            t update 1
            t delete 2 rolled_back
        """,
    ),
    Case(
        "statement_cursor_and_serial",
        setup="create table t (id serial primary key, v text); insert into t (v) values ('a'), ('b');",
        steps="""
            begin; declare c cursor for select * from t for update; fetch c; update t set v = 'cur' where current of c;
            fetch c; delete from t where current of c; commit;
            insert into t (v) values ('c'), ('d');
            insert into t (v) select v from t;
        """,
    ),
)
