"""Who did it: tags belong to changes, not to transactions."""

from __future__ import annotations

from oracle.script import Case

_T = "create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b');"

CASES = (
    Case(
        "tag_two_in_one_transaction",
        setup=_T,
        steps="""
            begin; select flux.tag('r1', 'ann'); update t set v = '1' where id = 1; update t set v = '2' where id = 1;
            select flux.tag('r2', 'bob', '{"a": 1}'); update t set v = '3' where id = 1;
            select flux.tag(null); update t set v = '4' where id = 2;
            select flux.tag('r1', 'ann'); update t set v = '5' where id = 2; commit;
            update t set v = '6' where id = 2;
        """,
        expect="""
            t update 1 req=r1
            t update 1 req=r1
            t update 1 req=r2
            t update 2
            t update 2 req=r1
            t update 2
        """,
    ),
    Case(
        "tag_in_savepoints",
        setup=_T,
        steps="""
            begin; select flux.tag('r1'); update t set v = '1' where id = 1;
            savepoint s; select flux.tag('r2'); update t set v = '2' where id = 1; update t set v = '2b' where id = 2;
            rollback to s; update t set v = '3' where id = 1; commit;
            begin; savepoint s; select flux.tag('r3'); insert into t values (3, 'x'); release s; insert into t values (4, 'x'); rollback;
            begin; savepoint s; select flux.tag('r4'); delete from t where id = 2; rollback to s; delete from t where id = 2; commit;
        """,
        expect="""
            t update 1 req=r1
            t update 1 savepoint_rolled_back req=r2
            t update 2 savepoint_rolled_back req=r2
            t update 1 req=r1
            t insert 3 rolled_back req=r3
            t insert 4 rolled_back req=r3
            t delete 2 savepoint_rolled_back req=r4
            t delete 2
        """,
    ),
    Case(
        "tag_first_in_a_savepoint_that_goes",
        # The context message goes with the savepoint; what follows needs it again.
        setup=_T,
        steps="""
            begin; select flux.tag('r1'); savepoint s; update t set v = 'x' where id = 1; rollback to s;
            update t set v = 'y' where id = 1; savepoint s; update t set v = 'z' where id = 1; release s; commit;
        """,
        expect="""
            t update 1 savepoint_rolled_back req=r1
            t update 1 req=r1
            t update 1 req=r1
        """,
    ),
    Case(
        "tag_of_the_session",
        setup=_T,
        steps="""
            set flux.request_id = 'whole session'; set flux.actor = 'é😀 "quoted" \\ tab	';
            update t set v = '1' where id = 1; begin; update t set v = '2' where id = 1; rollback;
            begin; set local flux.request_id = 'local'; update t set v = '3' where id = 1; commit;
            update t set v = '4' where id = 1;
            reset flux.request_id; update t set v = '5' where id = 1;
        """,
        expect="""
            t update 1 req=whole session
            t update 1 rolled_back req=whole session
            t update 1 req=local
            t update 1 req=whole session
            t update 1
        """,
    ),
    Case(
        "tag_malformed_attributes",
        setup=_T,
        steps="""
            begin; select flux.tag('r1', 'a', '{not json'); update t set v = '1'; commit;
            begin; select flux.tag('r2', 'a', '[1, 2]'); update t set v = '2' where id = 1; rollback;
            begin; select flux.tag('r3', 'a', '{"k": {"deep": [1, null]}, "n": null, "é": "\\u00e9", "dup": 1, "dup": 2}'); update t set v = '3' where id = 1; commit;
            begin; select flux.tag(repeat('r', 3000), repeat('a', 3000), repeat('x', 100000)); update t set v = '4' where id = 1; rollback;
            begin; select flux.tag(E'r\\nwith\\r\\n lines', E'\\x01\\x1f\\x7f', ''); update t set v = '5' where id = 1; commit;
        """,
    ),
    Case(
        "tag_forged_messages",
        # Any role may write a message under any prefix: a malformed one must not harm the ledger.
        setup=_T,
        steps="""
            select pg_logical_emit_message(true, 'flux.context', '{"request_id": 1}');
            select pg_logical_emit_message(true, 'flux.context', 'rubbish');
            select pg_logical_emit_message(false, 'flux.attempt', '1 x y z');
            select pg_logical_emit_message(false, 'flux.attempt', '1 99999999 5 16384 - - 1 i5 abc');
            select pg_logical_emit_message(false, 'flux.attempt', '');
            select pg_logical_emit_message(false, 'flux.context', '{}');
            select pg_logical_emit_message(true, 'flux.ddl', '{"relations": [1]}');
            select pg_logical_emit_message(false, 'flux.ddl', '{"xid": "abc"}');
            select pg_logical_emit_message(true, 'flux.heartbeat', '{"snapshot": "1"}');
            select pg_logical_emit_message(true, 'flux.mark', '');
            select pg_logical_emit_message(true, 'flux.', 'x');
            select pg_logical_emit_message(true, '', 'x');
            select pg_logical_emit_message(true, 'other', E'\\x01"\\\\ é😀');
            select pg_logical_emit_message(true, 'binary', '\\x00ff80'::bytea);
            update t set v = '1' where id = 1;
            begin; update t set v = '2' where id = 1; select pg_logical_emit_message(true, 'flux.mark', '1'); rollback;
        """,
        expect="""
            t update 1
            t update 1 rolled_back
        """,
        # wal2json cuts a message's content at a zero byte, or prints bytes that are no UTF-8.
    ),
    Case(
        "tag_by_message",
        # Without a trigger only messages say who it was; another table has its trigger all the same.
        setup=_T + "create table u (id int primary key);",
        track=("t",),
        rollbacks=False,
        tag_trigger=False,
        steps="""
            update t set v = 'nobody' where id = 1;
            begin; select pg_logical_emit_message(true, 'flux.tag', '{"request_id": "r1", "actor": "ann", "attributes": "{\\"a\\": 1}"}');
            update t set v = '1' where id = 1; savepoint s;
            select pg_logical_emit_message(true, 'flux.tag', '{"request_id": "gone"}'); rollback to s;
            update t set v = '2' where id = 1;
            select pg_logical_emit_message(true, 'flux.tag', '{"request_id": "r2", "attributes": {"é": [1, "😀"]}}');
            update t set v = '3' where id = 2;
            select pg_logical_emit_message(true, 'flux.tag', '{"request_id": 1}'); update t set v = '4' where id = 2; commit;
            select pg_logical_emit_message(true, 'flux.tag', '{"request_id": "alone"}');
            update t set v = '5' where id = 1;
            begin; select flux.tag('r3', 'é', '{"k": "v"}'); delete from t where id = 2; truncate t; commit;
            begin; select flux.tag('r4'); insert into t values (9, 'x'); rollback;
            @ track u
            begin; select flux.tag('r5'); insert into u values (2); insert into t values (5, 'y'); commit;
            @ track t
            begin; select flux.tag('r6'); update t set v = '6'; commit;
            @ track t no_trigger
            insert into t values (6, 'z');
        """,
        expect="""
            t update 1
            t update 1 req=r1
            t update 1 req=r1
            t update 2 req=r2
            t update 2 req=r2
            t update 1
            t delete 2 req=r3
            t truncate - req=r3
            u insert 2 req=r5
            t insert 5 req=r5
            t update 5 req=r6
            t insert 6
        """,
    ),
    Case(
        "tag_roles",
        setup=_T
        + """
            do $$ begin
                if not exists (select from pg_roles where rolname = 'oracle_writer') then create role oracle_writer; end if;
            end $$;
            grant usage on schema tag_roles to oracle_writer; grant all on t to oracle_writer;
        """,
        steps="""
            set role oracle_writer; select flux.tag('r1'); update t set v = '1' where id = 1;
            begin; select flux.tag('r2'); update t set v = '2' where id = 1; rollback;
            set search_path = ''; update tag_roles.t set v = '3' where id = 1;
        """,
        expect="""
            t update 1
            t update 1 rolled_back req=r2
            t update 1
        """,
    ),
    Case(
        "tag_functions_and_triggers",
        setup=_T
        + """
            create table log (id int generated always as identity primary key, what text);
            create function note() returns trigger language plpgsql as $$
            begin insert into log (what) values (new.v); return new; end $$;
            create trigger note before update on t for each row execute function note();
            create trigger note_after after insert on t for each row execute function note();
        """,
        track=("t", "log"),
        steps="""
            begin; select flux.tag('r1'); update t set v = '1' where id = 1; insert into t values (5, 'five'); commit;
            begin; select flux.tag('r2'); update t set v = '2'; rollback;
        """,
        expect="""
            log insert 1 req=r1
            t update 1 req=r1
            t insert 5 req=r1
            log insert 2 req=r1
            log insert 3 rolled_back req=r2
            log insert 4 rolled_back req=r2
            log insert 5 rolled_back req=r2
            t update 2 rolled_back req=r2
            t update 1 rolled_back req=r2
            t update 5 rolled_back req=r2
        """,
    ),
)
