"""What was rolled back: transactions, savepoints three deep, exception blocks, failing statements."""

from __future__ import annotations

from oracle.script import Case

_T = "create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b'), (3, 'c');"

CASES = (
    Case(
        "savepoint_rollback_of_all",
        setup=_T,
        steps="""
            begin; insert into t values (10, 'x'); update t set v = 'y' where id = 1; delete from t where id = 2; rollback;
            update t set v = 'z' where id = 1;
        """,
        expect="""
            t insert 10 rolled_back
            t update 1 rolled_back
            t delete 2 rolled_back
            t update 1
        """,
    ),
    Case(
        "savepoint_three_deep",
        setup=_T,
        steps="""
            begin; update t set v = 'top';
            savepoint a; insert into t values (10, 'a');
            savepoint b; update t set v = 'b' where id = 10; delete from t where id = 1;
            savepoint c; insert into t values (11, 'c'); delete from t where id = 2;
            rollback to c; insert into t values (12, 'c2');
            rollback to b; delete from t where id = 3;
            savepoint d; insert into t values (13, 'd'); release d;
            release a; insert into t values (14, 'end');
            commit;
        """,
        expect="""
            t update 1
            t update 2
            t update 3
            t insert 10
            t update 10 savepoint_rolled_back
            t delete 1 savepoint_rolled_back
            t insert 11 savepoint_rolled_back
            t delete 2 savepoint_rolled_back
            t insert 12 savepoint_rolled_back
            t delete 3
            t insert 13
            t insert 14
        """,
    ),
    Case(
        "savepoint_released_into_rolled_back",
        setup=_T,
        steps="""
            begin; savepoint a; insert into t values (10, 'a');
            savepoint b; insert into t values (11, 'b'); release b; insert into t values (12, 'a');
            rollback to a; insert into t values (13, 'a again'); release a; commit;
            begin; savepoint a; delete from t where id = 1; release a; rollback;
            begin; savepoint a; delete from t where id = 1; release a; commit;
        """,
        expect="""
            t insert 10 savepoint_rolled_back
            t insert 11 savepoint_rolled_back
            t insert 12 savepoint_rolled_back
            t insert 13
            t delete 1 rolled_back
            t delete 1
        """,
    ),
    Case(
        "savepoint_only_rolled_back",
        # A transaction of which nothing is left: pgoutput does not show its commit.
        setup=_T,
        steps="""
            begin; savepoint a; update t set v = 'x' where id = 1; rollback to a; commit;
            begin; savepoint a; update t set v = 'y' where id = 1; rollback to a; rollback;
            begin; savepoint a; delete from t where id = 1; rollback to a; update t set v = 'kept' where id = 2; commit;
        """,
        expect="""
            t update 1 savepoint_rolled_back
            t update 1 rolled_back
            t delete 1 savepoint_rolled_back
            t update 2
        """,
    ),
    Case(
        "savepoint_exception_block",
        setup=_T
        + """
            create function try(n int, fail bool) returns void language plpgsql as $$
            begin
                insert into t values (n, 'before');
                begin
                    insert into t values (n + 1, 'inside');
                    update t set v = 'inside' where id = n;
                    begin
                        delete from t where id = 1;
                        insert into t values (n + 2, 'deeper');
                        raise exception 'deeper';
                    exception when others then
                        insert into t values (n + 3, 'handler');
                    end;
                    if fail then perform 1 / 0; end if;
                exception when division_by_zero then
                    insert into t values (n + 4, 'outer handler');
                end;
                update t set v = v || '!' where id = n;
            end $$;
        """,
        steps="""
            select try(10, false);
            select try(20, true);
            begin; select try(30, true); rollback;
        """,
        expect="""
            t insert 10
            t insert 11
            t update 10
            t delete 1 savepoint_rolled_back
            t insert 12 savepoint_rolled_back
            t insert 13
            t update 10
            t insert 20
            t insert 21 savepoint_rolled_back
            t update 20 savepoint_rolled_back
            t delete 1 savepoint_rolled_back
            t insert 22 savepoint_rolled_back
            t insert 23 savepoint_rolled_back
            t insert 24
            t update 20
            t insert 30 rolled_back
            t insert 31 rolled_back
            t update 30 rolled_back
            t delete 1 rolled_back
            t insert 32 rolled_back
            t insert 33 rolled_back
            t insert 34 rolled_back
            t update 30 rolled_back
        """,
    ),
    Case(
        "savepoint_failing_statement",
        # A statement that fails fires no AFTER trigger, but a foreign key fails after ours.
        setup=_T + "create table child (id int primary key, t_id int references t);",
        track=("t", "child"),
        steps="""
            @ a fails 23505
            insert into t values (9, 'new'), (1, 'double')
            @ a fails 23503
            insert into child values (1, 99)
            @ a
            begin; insert into child values (2, 1);
            @ a fails 23503
            insert into child values (3, 99)
            @ a
            rollback;
            begin; insert into child values (4, 1); savepoint s;
            @ a fails 23503
            insert into child values (5, 99)
            @ a
            rollback to s; insert into child values (5, 2); commit;
            @ a fails 23503
            delete from t where id = 1
        """,
        expect="""
            child insert 1 rolled_back
            child insert 2 rolled_back
            child insert 3 rolled_back
            child insert 4
            child insert 5 savepoint_rolled_back
            child insert 5
            t delete 1 rolled_back
        """,
    ),
    Case(
        "savepoint_deferred_constraint",
        setup=_T
        + "create table child (id int primary key, t_id int references t deferrable initially deferred);",
        track=("t", "child"),
        steps="""
            begin; insert into child values (1, 50); insert into t values (50, 'later'); commit;
            begin; insert into child values (2, 51);
            @ a fails 23503
            commit
        """,
        expect="""
            child insert 1
            t insert 50
            child insert 2 rolled_back
        """,
    ),
    Case(
        "savepoint_delete_of_locked_row",
        # xmax of a row that others have locked is a MultiXact: no number to tell a subtransaction by.
        setup=_T,
        steps="""
            @ b
            begin; select 1 from t where id in (1, 2, 3) for key share;
            @ c
            begin; select 1 from t where id in (1, 2, 3) for key share;
            @ a
            begin; update t set v = 'x' where id = 1; savepoint s; update t set v = 'y' where id = 2; rollback to s; commit;
            @ b
            commit
            @ c
            commit
            @ a
            begin; savepoint s; select 1 from t where id = 3 for key share; savepoint u; delete from t where id = 3;
            rollback to u; delete from t where id = 2; release s; commit;
            begin; select 1 from t where id = 1 for key share; savepoint s; delete from t where id = 1; commit;
        """,
        expect="""
            t update 1
            t update 2 savepoint_rolled_back
            t delete 3 savepoint_rolled_back
            t delete 2
            t delete 1
        """,
    ),
    Case(
        "savepoint_two_sessions",
        setup=_T,
        steps="""
            begin; insert into t values (10, 'a'); savepoint s; insert into t values (11, 'a');
            @ b
            begin; insert into t values (20, 'b'); savepoint s; insert into t values (21, 'b'); rollback to s;
            @ a
            rollback to s; insert into t values (12, 'a');
            @ b
            commit
            @ a
            commit
            @ b
            begin; update t set v = 'b' where id = 12;
            @ a
            insert into t values (30, 'alone');
            @ b
            rollback
        """,
        expect="""
            t insert 10
            t insert 11 savepoint_rolled_back
            t insert 20
            t insert 21 savepoint_rolled_back
            t insert 12
            t update 12 rolled_back
            t insert 30
        """,
    ),
    Case(
        "savepoint_truncate",
        setup=_T + "create table u (id int primary key); insert into u values (1);",
        track=("t", "u"),
        steps="""
            begin; truncate t; insert into t values (1, 'new'); rollback;
            begin; savepoint s; truncate t, u; rollback to s; truncate u; insert into u values (5); commit;
            truncate t, u;
        """,
        expect="""
            t truncate - rolled_back
            t insert 1 rolled_back
            t truncate - savepoint_rolled_back
            u truncate - savepoint_rolled_back
            u truncate -
            u insert 5
            t truncate -
            u truncate -
        """,
    ),
    Case(
        "savepoint_prepared",
        setup=_T,
        steps="""
            begin; insert into t values (10, 'p'); savepoint s; insert into t values (11, 'p'); rollback to s;
            update t set v = 'p' where id = 1; prepare transaction 'kept';
            begin; insert into t values (20, 'q'); delete from t where id = 2; prepare transaction 'dropped';
            insert into t values (30, 'between');
            @ b
            commit prepared 'kept'; rollback prepared 'dropped';
        """,
        expect="""
            t insert 10
            t insert 11 savepoint_rolled_back
            t update 1
            t insert 20 rolled_back
            t delete 2 rolled_back
            t insert 30
        """,
    ),
    Case(
        "savepoint_own_row_twice",
        # A row inserted, updated and deleted within one transaction and its savepoints.
        setup=_T,
        steps="""
            begin; insert into t values (10, 'one'); update t set v = 'two' where id = 10;
            savepoint s; delete from t where id = 10; rollback to s; update t set v = 'three' where id = 10;
            savepoint s2; update t set v = 'four' where id = 10; delete from t where id = 10; release s2;
            insert into t values (10, 'five'); commit;
            begin; insert into t values (11, 'x'); delete from t where id = 11; commit;
        """,
        expect="""
            t insert 10
            t update 10
            t delete 10 savepoint_rolled_back
            t update 10
            t update 10
            t delete 10
            t insert 10
            t insert 11
            t delete 11
        """,
    ),
    Case(
        "savepoint_old_values_of_attempts",
        setup="create table t (id int primary key, v text, n numeric, b bytea, at timestamptz);"
        "insert into t values (1, E'q\"uote\\\\ ,()', 'NaN', '\\x00ff', '2000-01-01 00:00+00');",
        steps="""
            set timezone = 'Asia/Tokyo'; set datestyle = 'SQL, DMY'; set bytea_output = 'escape'; set extra_float_digits = -5;
            begin; update t set v = v || 'x', n = 'Infinity'; update t set v = null; delete from t; rollback;
            update t set v = '';
        """,
        expect="""
            t update 1 rolled_back
            t update 1 rolled_back
            t delete 1 rolled_back
            t update 1
        """,
    ),
    Case(
        "savepoint_without_rollbacks_option",
        setup=_T,
        rollbacks=False,
        steps="""
            begin; insert into t values (10, 'x'); rollback;
            begin; insert into t values (11, 'x'); savepoint s; insert into t values (12, 'x'); rollback to s; commit;
        """,
        expect="""
            t insert 11
        """,
    ),
    Case(
        "savepoint_many",
        setup=_T,
        steps="""
            do $$ begin
                for i in 1..120 loop
                    begin
                        insert into t values (100 + i, 'loop');
                        if i % 3 = 0 then raise exception 'no'; end if;
                        update t set v = 'loop ' || i where id = 100 + i;
                        if i % 5 = 0 then delete from t where id = 100 + i; end if;
                        if i % 7 = 0 then raise exception 'no'; end if;
                    exception when others then null;
                    end;
                end loop;
            end $$;
        """,
    ),
)
