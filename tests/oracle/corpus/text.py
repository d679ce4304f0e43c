"""Texts with everything that some format escapes, and lengths around the edges of Arrow's views."""

from __future__ import annotations

from oracle.script import Case

_EDGES = ", ".join(
    f"({100 + n}, repeat('x', {n}), repeat('é', {n}), repeat('😀', {n}))"
    for n in (0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 31, 255, 256)
)

CASES = (
    Case(
        "text_specials",
        setup="create table t (id int primary key, a text, b text, c varchar);",
        steps="""
            insert into t values (1, 'quote '' double " back \\ slash / ', E'new\\nline\\rreturn\\ttab\\bback\\fform\\vvert', E'\\x01\\x02\\x1f\\x7f');
            insert into t values (2, '', ' ', '  trailing  '), (3, null, 'null', 'NULL'), (4, '\\N', '\\.', '\\\\'), (5, '"', '\\"', '""'), (6, '{', '}', '{"a": "b\\"c"}');
            insert into t values (7, '😀é𝄞中文', U&'\\200B\\FEFF\\2028', E'\\u00e9 vs e\\u0301'), (8, ',', '(,)', '(1,"x y",)'), (9, 'a,b', '(', ')'), (10, '\\u0041', '\\x41', '%s %d $1 {0}');
            insert into t values (11, '"action":"C"', '{"action":"D","x":[', ']}'), (12, E'\\\\\\\\"', E'\\\\"\\\\', E'"\\\\'), (13, 'true', 'false', 't'), (14, '-', '0', '1.0e5');
            update t set a = a || b where id % 2 = 0; update t set c = a where id % 3 = 0;
            begin; update t set a = b, b = a; delete from t where id < 5; rollback;
            begin; savepoint s; update t set a = c || a || '"', b = E'(\\\\"' || b; rollback to s; update t set a = 'end' where id = 1; commit;
            delete from t where id > 10;
        """,
    ),
    Case(
        "text_every_byte",
        setup="create table t (id int primary key, v text, b bytea);",
        steps="""
            insert into t select i, chr(i), decode(lpad(to_hex(i % 256), 2, '0'), 'hex') from generate_series(1, 400) i;
            insert into t select 1000 + i, chr(i) || chr(i) || 'x' || chr(i), null from generate_series(1, 160) i;
            insert into t select 2000 + i, chr(x), null from unnest(array[1023, 2047, 2048, 55295, 57344, 65533, 65535, 65536, 1114111]) with ordinality u (x, i);
            begin; update t set v = v || v; rollback; update t set v = v || '"' where id < 200;
        """,
    ),
    Case(
        "text_lengths",
        setup="create table t (id int primary key, a text, b text, c text);",
        steps=f"insert into t values {_EDGES}; update t set a = b, b = c, c = a; begin; update t set a = c; delete from t; rollback; update t set b = '' where id > 105;",
    ),
    Case(
        "text_large",
        setup="create table t (id int primary key, a text, b text);",
        steps="""
            insert into t values (1, repeat('0123456789abcdef', 4097), repeat(E'"\\\\\\n😀', 20000)), (2, repeat('x', 65535), repeat('y', 65536));
            update t set b = repeat('z', 3000000) where id = 1; begin; update t set a = b; rollback; begin; savepoint s; update t set a = repeat(E'\\t', 70000); rollback to s; commit;
            delete from t where id = 2;
        """,
    ),
)
