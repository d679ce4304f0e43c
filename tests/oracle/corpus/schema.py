"""Schema changes between the rows: rename, add, drop, rewrite, keys that move."""

from __future__ import annotations

from oracle.script import Case

_T = "create table t (id int primary key, v text, n int); insert into t values (1, 'a', 1), (2, 'b', null), (3, 'c', 3);"

CASES = (
    Case(
        "schema_rename_column",
        setup=_T,
        steps="""
            update t set v = 'x' where id = 1; alter table t rename column v to w; update t set w = 'y' where id = 1;
            alter table t rename column id to key; update t set n = 5 where key = 2; update t set key = 20 where key = 2;
            begin; alter table t rename column w to v; update t set v = 'z' where key = 3; commit;
            begin; alter table t rename column n to gone; update t set gone = 7; rollback; update t set n = 8 where key = 1;
            alter table t rename column v to tmp; alter table t rename column n to v; alter table t rename column tmp to n;
            update t set v = 9, n = 'swapped' where key = 1;
        """,
    ),
    Case(
        "schema_rename_table_rolled_back",
        # Nobody else ever knew the table by that name: what was tried on it is found under its own.
        setup="create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b');",
        steps="""
            begin; alter table t rename to "T 2"; update "T 2" set v = 'x' where id = 1; truncate "T 2"; rollback;
            begin; savepoint s; alter table t rename to u; alter table u add column n int; update u set n = 1 where id = 2;
            rollback to s; delete from t where id = 2; commit;
            begin; alter table t rename to w; savepoint s; update w set v = 'y' where id = 1; rollback to s; commit;
            begin; create table fresh (id int primary key); alter table fresh rename to freshest; insert into w values (3, 'c'); rollback;
        """,
        expect="""
            t update 1 rolled_back
            t truncate - rolled_back
            t update 2 savepoint_rolled_back
            t delete 2
            w update 1 savepoint_rolled_back
            w insert 3 rolled_back
        """,
    ),
    Case(
        "schema_rename_table",
        setup=_T,
        steps="""
            update t set v = 'x' where id = 1; alter table t rename to u; update u set v = 'y' where id = 1;
            create table t (id int primary key, v text); insert into t values (1, 'another');
            begin; alter table u rename to w; update w set v = 'z'; delete from w where id = 2; rollback;
            begin; update u set v = '1' where id = 1; alter table u rename to w; update w set v = '2' where id = 1; commit;
            create schema if not exists elsewhere; alter table w set schema elsewhere; update elsewhere.w set v = '3' where id = 1;
            alter table elsewhere.w set schema schema_rename_table; update w set v = '4' where id = 1; drop schema elsewhere;
        """,
    ),
    Case(
        "schema_add_column",
        setup=_T,
        steps="""
            alter table t add column a text; update t set v = 'x' where id = 1;
            alter table t add column b text default 'constant'; insert into t (id) values (10); update t set v = 'y' where id = 2;
            alter table t add column c int not null default 5, add column d timestamptz default '2024-01-01 00:00+00', add column e text[] default '{a,"b c"}',
                add column f numeric default 'NaN', add column g bool default true, add column h bytea default '\\x00ff', add column i interval default '1 mon';
            update t set v = 'z' where id = 3; alter table t alter column b set default 'other'; insert into t (id) values (11);
            update t set b = null where id = 1; alter table t alter column b drop default; insert into t (id) values (12);
            begin; alter table t add column gone int default 1; update t set v = 'gone'; insert into t (id) values (13); rollback;
            begin; savepoint s; alter table t add column gone int; update t set gone = 4 where id = 1; rollback to s;
            alter table t add column kept int default 9; update t set kept = 5 where id = 1; commit;
            update t set v = 'end';
        """,
    ),
    Case(
        "schema_add_column_volatile",
        # Rows change without row changes in the log: a new baseline is asked for.
        setup=_T,
        steps="alter table t add column r float8 default random(); update t set v = 'x' where id = 1; insert into t (id) values (10);",
    ),
    Case(
        "schema_drop_column",
        setup=_T,
        steps="""
            alter table t drop column v; update t set n = 5 where id = 1; insert into t values (10, 10);
            alter table t add column v text default 'new v'; update t set n = 6 where id = 2; insert into t values (11, 11, 'own');
            begin; update t set n = 7 where id = 3; alter table t drop column n; update t set v = 'x' where id = 3; insert into t values (12, 'y'); commit;
            begin; delete from t where id = 1; alter table t drop column v; rollback; update t set v = 'end';
        """,
    ),
    Case(
        "schema_alter_type",
        setup=_T,
        steps="""
            update t set n = 5 where id = 1; alter table t alter column n type text using 'n' || n; update t set v = 'x' where id = 2;
            insert into t values (10, 'new', 'text'); alter table t alter column v type varchar(100); update t set v = 'y' where id = 1;
            begin; alter table t alter column id type bigint; insert into t values (5000000000, 'big', ''); rollback;
        """,
    ),
    Case(
        "schema_alter_type_without_rewrite",
        setup="create table t (id int primary key, v varchar(10), n numeric(10, 2)); insert into t values (1, 'a', 1.10);",
        steps="""
            alter table t alter column v type varchar(20); update t set v = 'longer than ten' where id = 1;
            alter table t alter column v type text; update t set n = 2.5; alter table t alter column n type numeric; update t set n = 1.234567;
            alter table t alter column v set not null; insert into t values (2, 'x', null); alter table t alter column v drop not null;
            insert into t values (3, null, null);
        """,
    ),
    Case(
        "schema_key_moves",
        setup="create table t (id int not null, code text not null, v text, constraint pk primary key (id)); insert into t values (1, 'one', 'a'), (2, 'two', 'b');",
        steps="""
            update t set v = 'x' where id = 1;
            alter table t drop constraint pk, add primary key (code); update t set v = 'y' where id = 1; update t set code = 'uno' where id = 1;
            insert into t values (1, 'dup', 'z'); delete from t where code = 'two';
            alter table t drop constraint t_pkey, add primary key (code, id); update t set v = 'w';
        """,
    ),
    Case(
        "schema_key_goes",
        # Without a key its updates cannot be published: the application's statements must go on.
        setup="create table t (id int constraint pk primary key, v text); insert into t values (1, 'a');",
        steps="""
            alter table t drop constraint pk; update t set v = 'unseen'; insert into t values (2, 'seen'); delete from t where id = 2;
            alter table t add constraint pk primary key (id); update t set v = 'seen again';
        """,
        unseen=("t",),
    ),
    Case(
        "schema_drop_and_create",
        setup=_T + "create table keep (id int primary key); insert into keep values (1);",
        track=("t", "keep"),
        steps="""
            update t set v = 'x'; begin; drop table t; rollback; update t set v = 'y'; drop table t;
            create table t (id int primary key, other text); insert into t values (1, 'not ours');
            insert into keep values (2);
        """,
    ),
    Case(
        "schema_truncate_restart",
        setup="create table t (id int generated always as identity primary key, v text); insert into t (v) values ('a'), ('b');",
        steps="truncate t restart identity; insert into t (v) values ('c'); truncate t cascade; insert into t (v) values ('d');",
    ),
    Case(
        "schema_cluster_and_vacuum",
        # Rewrites that change no row.
        setup=_T,
        steps="update t set v = 'x' where id = 1; vacuum full t; update t set v = 'y' where id = 1; cluster t using t_pkey; update t set v = 'z' where id = 2; reindex table t; analyze t;",
    ),
    Case(
        "schema_enum_and_domain",
        setup="""
            create type mood as enum ('sad', 'ok'); create domain price as numeric(10, 2) check (value >= 0); create type pair as (a int, b text);
            create table t (id int primary key, m mood, p price, c pair); insert into t values (1, 'sad', 1.5, '(1,x)');
        """,
        steps="""
            alter type mood add value 'great'; insert into t values (2, 'great', 2, '(2,y)'); alter type mood rename value 'sad' to 'blue'; update t set m = 'blue' where id = 2;
            alter type mood rename to feeling; update t set p = 9 where id = 1; alter domain price rename to cost; update t set p = 8 where id = 2;
            alter type pair add attribute c int; update t set c = '(5,z,6)' where id = 2; begin; update t set c = '(7,gone,)'; rollback;
        """,
    ),
    Case(
        "schema_attempts_across_ddl",
        setup=_T,
        steps="""
            begin; update t set v = 'old shape' where id = 1; alter table t add column x int default 3; update t set x = 4 where id = 2;
            alter table t drop column n; insert into t values (30, 'new shape', 1); rollback;
            begin; savepoint s; alter table t add column x int default 3; update t set x = 4 where id = 2; rollback to s; update t set n = 1; commit;
            begin; alter table t add column y text; savepoint s; update t set y = 'gone' where id = 1; rollback to s; update t set y = 'kept' where id = 1; commit;
        """,
        expect="""
            t update 1 rolled_back
            t update 2 rolled_back
            t insert 30 rolled_back
            t update 2 savepoint_rolled_back
            t update 1
            t update 2
            t update 3
            t update 1 savepoint_rolled_back
            t update 1
        """,
    ),
)
