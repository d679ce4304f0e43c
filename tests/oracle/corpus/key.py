"""Keys: changed, swapped, chained, composite, of every awkward text."""

from __future__ import annotations

from oracle.script import Case

CASES = (
    Case(
        "key_change",
        setup="create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b'), (3, 'c');",
        steps="""
            update t set id = 10 where id = 1;
            update t set id = 1 where id = 10;
            begin; update t set id = 20 where id = 2; update t set id = 21 where id = 20; delete from t where id = 21; commit;
            begin; update t set id = 30 where id = 3; rollback;
            begin; savepoint s; update t set id = 31 where id = 3; rollback to s; update t set id = 32 where id = 3; commit;
        """,
        expect="""
            t update 10 old_key=1
            t update 1 old_key=10
            t update 20 old_key=2
            t update 21 old_key=20
            t delete 21
            t update 30 old_key=3 rolled_back
            t update 31 old_key=3 savepoint_rolled_back
            t update 32 old_key=3
        """,
    ),
    Case(
        "key_swap_by_third",
        setup="create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b');",
        steps="""
            begin; update t set id = -1 where id = 1; update t set id = 1 where id = 2; update t set id = 2 where id = -1; commit;
        """,
        expect="""
            t update -1 old_key=1
            t update 1 old_key=2
            t update 2 old_key=-1
        """,
    ),
    Case(
        "key_chain_in_one_statement",
        # Upwards in descending order, as a deferrable constraint or luck allows: identity by another index.
        setup="""
            create table t (id int not null, v text); create unique index t_id on t (id);
            insert into t values (3, 'c'), (2, 'b'), (1, 'a');
            alter table t replica identity using index t_id;
        """,
        steps="""
            update t set id = id + 1;
            update t set id = id + 1 where id = 4;
            begin; update t set id = id * 100; rollback;
        """,
        expect="""
            t update 4 old_key=3
            t update 3 old_key=2
            t update 2 old_key=1
            t update 5 old_key=4
            t update 300 old_key=3 rolled_back
            t update 200 old_key=2 rolled_back
            t update 500 old_key=5 rolled_back
        """,
    ),
    Case(
        "key_deferrable_swap",
        # Two rows have one key until the check: to be folded as a table without one.
        setup="""
            create table t (id int primary key deferrable, v text); alter table t replica identity full;
            insert into t values (1, 'a'), (2, 'b');
        """,
        steps="""
            begin; set constraints all deferred; update t set id = 3 - id; commit;
            update t set id = id + 1;
            delete from t where id = 2;
        """,
    ),
    Case(
        "key_composite",
        setup="""
            create table t (region text, "no" int, part text, v text, primary key (part, region, "no"));
            insert into t values ('eu', 1, 'p', 'a'), ('e"u', 2, E'b\\\\s', 'b'), ('', 3, E'\\n\\t', 'c');
        """,
        steps="""
            update t set v = 'x';
            update t set "no" = "no" + 10;
            update t set region = 'é😀' where region = '';
            insert into t values ('1,2', 0, '["a"]', 'j'), (E'\\x01\\x1f\\x7f', 1, '/', 'k'), ('true', 5, 'null', null);
            update t set part = part || '!' where part = 'p';
            delete from t where v = 'j';
            begin; update t set region = 'gone', "no" = -"no"; rollback;
        """,
    ),
    Case(
        "key_types",
        setup="""
            create table by_uuid (id uuid primary key, v int);
            create table by_time (id timestamptz primary key, v int);
            create table by_bytes (id bytea primary key, v int);
            create table by_bool (id boolean primary key, v int);
            create table by_numeric (id numeric primary key, v int);
            create table by_char (id char(6) primary key, v int);
            create table by_float (id float8 primary key, v int);
            create table by_array (id int[] primary key, v int);
            create table by_name (id name primary key, v int);
        """,
        track=(
            "by_uuid",
            "by_time",
            "by_bytes",
            "by_bool",
            "by_numeric",
            "by_char",
            "by_float",
            "by_array",
            "by_name",
        ),
        steps="""
            insert into by_uuid values ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1); update by_uuid set v = 2;
            insert into by_time values ('2024-02-29 23:59:59.123456+02', 1), ('infinity', 2), ('0044-03-15 12:00+00 BC', 3);
            update by_time set v = v + 1;
            insert into by_bytes values ('\\x', 1), ('\\x00', 2), ('\\xdeadbeef', 3); update by_bytes set v = v + 1; delete from by_bytes where v = 2;
            insert into by_bool values (true, 1), (false, 0); update by_bool set v = 2; update by_bool set id = not id where id and false;
            delete from by_bool where id;
            insert into by_numeric values (1.10, 1), (0, 2), (1e30, 3), (-0.000, 4) on conflict do nothing; update by_numeric set v = v + 1;
            update by_numeric set id = 1.100 where id = 1.1;
            update by_numeric set v = 9 where id = 1.1;
            insert into by_char values ('ab', 1), ('', 2); update by_char set v = v + 1; delete from by_char where id = 'ab';
            insert into by_float values (0.1, 1), (-0.0, 2), (1e300, 3); update by_float set v = v + 1; update by_float set id = 0.0 where id = 0;
            update by_float set v = 7 where id = 0;
            insert into by_array values ('{}', 1), ('{1,NULL,3}', 2); update by_array set v = v + 1;
            insert into by_name values ('a', 1); update by_name set v = 2;
        """,
    ),
    Case(
        "key_reused",
        setup="create table t (id int primary key, v text); insert into t values (1, 'a');",
        steps="""
            delete from t; insert into t values (1, 'b'); begin; delete from t; insert into t values (1, 'c'); commit;
            begin; delete from t; savepoint s; insert into t values (1, 'gone'); rollback to s; insert into t values (1, 'd'); commit;
            begin; insert into t values (2, 'x'); update t set id = 5 where id = 1; update t set id = 1 where id = 2; commit;
        """,
        expect="""
            t delete 1
            t insert 1
            t delete 1
            t insert 1
            t delete 1
            t insert 1 savepoint_rolled_back
            t insert 1
            t insert 2
            t update 5 old_key=1
            t update 1 old_key=2
        """,
    ),
)
