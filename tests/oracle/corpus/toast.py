"""Large values: stored out of line, not sent when an update leaves them alone."""

from __future__ import annotations

from oracle.script import Case

_LARGE = "(select string_agg(md5(i::text || {seed!r}), '') from generate_series(1, {count}) i)"


def large(seed: str, count: int = 400) -> str:
    """Return SQL for a text of `count` * 32 characters that does not compress."""
    return _LARGE.format(seed=seed, count=count)


CASES = (
    Case(
        "toast_unchanged",
        setup=f"""
            create table t (id int primary key, body text, n int, other text);
            insert into t values (1, {large("base")}, 0, {large("o")}), (2, null, 0, 'short');
        """,
        steps=f"""
            update t set n = 1 where id = 1;
            update t set body = 'small now' where id = 1;
            update t set body = {large("new")}, n = 2 where id = 1;
            update t set other = null where id = 1;
            update t set id = 3 where id = 1;
            update t set n = n + 1;
            delete from t where id = 3;
            insert into t values (3, {large("again")}, 9, {large("more", 3000)});
            update t set n = 10 where id = 3;
        """,
        expect="""
            t update 1 unchanged=body,other
            t update 1 unchanged=other
            t update 1 unchanged=other
            t update 1 unchanged=body
            t update 3 old_key=1 unchanged=body
            t update 2
            t update 3 unchanged=body
            t delete 3
            t insert 3
            t update 3 unchanged=body,other
        """,
    ),
    Case(
        "toast_full",
        setup=f"""
            create table t (id int primary key, body text, n int);
            alter table t replica identity full;
            insert into t values (1, {large("base")}, 0);
        """,
        steps=f"""
            update t set n = 1;
            update t set id = 2;
            update t set body = {large("new")};
            update t set body = 'small';
            delete from t;
        """,
    ),
    Case(
        "toast_full_keyless",
        setup=f"""
            create table t (body text, n int);
            alter table t replica identity full;
            insert into t values ({large("base")}, 0), ({large("base")}, 0), (null, null);
        """,
        steps=f"""
            update t set n = 1 where ctid = '(0,1)';
            update t set n = 2 where n = 0;
            update t set n = 3;
            insert into t values ({large("x")}, 3);
            delete from t where body is null;
            update t set body = body || 'x';
            delete from t;
        """,
    ),
    Case(
        "toast_wide",
        setup="create table t (id int primary key, a text, b text, c text, d bytea, e jsonb);",
        steps=f"""
            insert into t values (1, {large("a", 3000)}, {large("b", 60)}, {large("c", 70)},
                decode({large("d", 4000)}, 'hex'), jsonb_build_object('k', {large("e", 2500)}));
            update t set b = 'b';
            update t set e = jsonb_set(e, '{{n}}', '1');
            update t set d = d || '\\x00'::bytea;
            update t set a = a || 'é😀';
            update t set c = repeat('compressible ', 20000);
            update t set b = 'c';
            begin; update t set b = 'd'; savepoint s; update t set a = 'gone', b = 'e'; rollback to s;
            update t set c = c || '!'; commit;
        """,
    ),
    Case(
        "toast_external_storage",
        setup="""
            create table t (id int primary key, a text, b text);
            alter table t alter a set storage external, alter b set storage main;
            insert into t values (1, repeat('x', 5000), repeat('y', 5000));
        """,
        steps="""
            update t set b = repeat('z', 9000);
            update t set b = 'b';
            update t set a = a;
            update t set a = null;
            update t set a = repeat(E'\\n"', 5000);
            update t set b = 'c';
        """,
    ),
    Case(
        "toast_in_key",
        # A key value can itself be long (up to a third of a page once compressed).
        setup="create table t (id text primary key, n int); insert into t values (repeat('k', 2500), 1);",
        steps="""
            update t set n = 2;
            update t set id = repeat('l', 2600);
            update t set n = 3;
            delete from t;
        """,
    ),
)
