"""Replica identities, and tables without a key."""

from __future__ import annotations

from oracle.script import Case

_WRITES = """
    insert into t values (3, 'c', 'z');
    update t set v = 'x' where id = 1;
    update t set id = 10 where id = 1;
    update t set v = null, w = null where id = 2;
    update t set v = 'y' where v is null;
    begin; update t set v = 'gone'; delete from t where id = 3; rollback;
    begin; savepoint s; update t set id = id + 50; rollback to s; delete from t where id = 3; commit;
    delete from t where id = 10;
    insert into t values (1, 'back', 'again');
"""
_ROWS = "insert into t values (1, 'a', 'x'), (2, 'b', 'y');"

CASES = (
    Case(
        "identity_default",
        setup="create table t (id int primary key, v text, w text);" + _ROWS,
        steps=_WRITES,
    ),
    Case(
        "identity_full",
        setup="create table t (id int primary key, v text, w text); alter table t replica identity full;"
        + _ROWS,
        steps=_WRITES,
    ),
    Case(
        "identity_full_without_key",
        setup="create table t (id int, v text, w text); alter table t replica identity full;" + _ROWS + _ROWS,
        steps=_WRITES,
    ),
    Case(
        "identity_full_by_option",
        setup="create table t (id int, v text, w text);" + _ROWS + _ROWS,
        identity_full=True,
        steps=_WRITES,
    ),
    Case(
        "identity_index",
        setup="""
            create table t (v text, id int not null, w text not null default 'w'); create unique index by_id on t (w, id);
            alter table t replica identity using index by_id; insert into t (id, v, w) values (1, 'a', 'x'), (2, null, 'y');
        """,
        steps="""
            insert into t (id, v) values (3, 'c');
            update t set v = 'x' where id = 1;
            update t set id = 10 where id = 1;
            update t set w = w || '!';
            begin; update t set id = -id; delete from t; rollback;
            delete from t where id = 2;
        """,
    ),
    Case(
        "identity_index_beside_primary_key",
        setup="""
            create table t (id int primary key, code text not null, v text); create unique index by_code on t (code);
            alter table t replica identity using index by_code; insert into t values (1, 'one', 'a'), (2, 'two', 'b');
        """,
        steps="""
            update t set v = 'x' where id = 1; update t set id = 5 where id = 1; update t set code = 'uno' where id = 5;
            delete from t where id = 2; insert into t values (2, 'two', 'again');
        """,
        expect="""
            t update one
            t update one
            t update uno old_key=one
            t delete two
            t insert two
        """,
    ),
    Case(
        # Published with its updates, such a table would make the application's own statements fail.
        "identity_nothing",
        setup="create table t (id int primary key, v text, w text); alter table t replica identity nothing;"
        + _ROWS,
        steps=_WRITES,
        unseen=("t",),
    ),
    Case(
        "identity_none_without_key",
        setup="create table t (id int, v text, w text);" + _ROWS,
        steps=_WRITES + "truncate t; insert into t values (7, 'alone', null);",
        unseen=("t",),
    ),
    Case(
        "identity_changes",
        setup="create table t (id int primary key, v text, w text not null default ''); create unique index by_w on t (w, id);"
        + _ROWS,
        steps="""
            update t set v = '1';
            alter table t replica identity full;
            update t set v = '2'; delete from t where id = 2; insert into t values (2, 'b', 'y');
            alter table t replica identity default;
            update t set v = '3' where id = 1;
            begin; alter table t replica identity full; update t set v = '4'; alter table t replica identity default; update t set v = '5'; commit;
            begin; alter table t replica identity full; update t set v = '6'; rollback;
            update t set v = '7';
        """,
    ),
    Case(
        "identity_only_key_columns",
        setup="create table t (a int, b int, primary key (b, a)); insert into t values (1, 2);",
        steps="insert into t values (3, 4); update t set a = 5; delete from t where b = 2; update t set b = b;",
    ),
    Case(
        "identity_one_column_none",
        # A table whose only column is NULL, and one that has no column at all.
        setup="create table t (v text); alter table t replica identity full; create table empty (); alter table empty replica identity full;",
        track=("t", "empty"),
        steps="""
            insert into t values (null), (null), (''); update t set v = 'x' where v = ''; update t set v = '' where v is null;
            begin; insert into t values (null), (''); delete from t; rollback; delete from t where ctid in (select ctid from t limit 1);
            insert into empty default values; begin; insert into empty default values; rollback; insert into empty default values;
        """,
    ),
)
