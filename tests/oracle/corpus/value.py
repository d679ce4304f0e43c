"""Every built-in type with its special values, as a column, in arrays, and in composites."""

from __future__ import annotations

from oracle.script import Case

VALUES: dict[str, tuple[str, ...]] = {
    "boolean": ("true", "false", "null"),
    "smallint": ("-32768", "32767", "0"),
    "integer": ("-2147483648", "2147483647", "0", "-1"),
    "bigint": ("-9223372036854775808", "9223372036854775807", "9007199254740993"),
    "real": (
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "1e-45",
        "3.4028235e38",
        "'-0'",
        "0.1",
        "1e10",
        "16777217",
        "null",
    ),
    "double precision": (
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "5e-324",
        "1.7976931348623157e308",
        "'-0'",
        "0.1",
        "0.30000000000000004",
        "1e16",
        "123456789012345680",
        "1e15",
        "null",
    ),
    "numeric": (
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "0",
        "1.10",
        "-0.000",
        "1e-20",
        "123456789012345678901234567890.123456789",
        "1e100",
        "null",
    ),
    "numeric(10,2)": ("'NaN'", "1.1", "-99999999.99", "0"),
    "numeric(5,-2)": ("12345", "100", "'NaN'"),
    "money": ("12.34", "-1234567.89", "0", "'92233720368547758.07'"),
    "text": ("''", "'x'", "'null'", "null"),
    "varchar(20)": ("''", "'x  '"),
    "char(5)": ("''", "'ab'", "'abcde'"),
    '"char"': ("''", "'x'", "'\\303'"),
    "name": ("'n'", "''"),
    "bytea": ("'\\x'", "'\\x00'", "decode('005c22ff27', 'hex')", "decode('deadbeef', 'hex')", "null"),
    "bit(3)": ("B'101'", "B'000'"),
    "bit varying": ("B''", "B'1'", "B'10101010101010101010'"),
    "date": (
        "'infinity'",
        "'-infinity'",
        "'4713-01-01 BC'",
        "'5874897-12-31'",
        "'2000-02-29'",
        "'0001-01-01'",
        "'0044-03-15 BC'",
    ),
    "time": ("'00:00'", "'24:00'", "'23:59:59.999999'"),
    "time(2)": ("'12:34:56.789'",),
    "timetz": ("'00:00+00'", "'23:59:59.999999-15:59'", "'12:00+05:30'"),
    "timestamp": (
        "'infinity'",
        "'-infinity'",
        "'4713-01-01 00:00 BC'",
        "'294276-12-31 23:59:59.999999'",
        "'2024-02-29 12:34:56.7'",
    ),
    "timestamptz": (
        "'infinity'",
        "'-infinity'",
        "'4713-01-01 00:00+00 BC'",
        "'294276-12-31 23:59:59.999999+00'",
        "'2024-02-29 12:34:56.789+05:30'",
        "'1883-11-18 12:03:58-04:56:02'",
    ),
    "interval": (
        "'1 year 2 mons -3 days 04:05:06.789'",
        "'0'",
        "'-1 mon'",
        "'178000000 years'",
        "'1 day -00:00:01'",
    ),
    "interval day to second(3)": ("'1 12:34:56.789'",),
    "uuid": ("'00000000-0000-0000-0000-000000000000'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
    "json": ("'null'", '\'{"a":  [1, 2.50, "x\\"y\\u00e9"], "a": null}\'', "'\"\"'", "E'\\n[1,\\n\\t2]'"),
    "jsonb": ("'null'", '\'{"b": 1.10, "a": {"é": [true, null, "\\\\\\\\"]}}\'', "'1e2'", "'[]'"),
    "jsonpath": ("'$.a[*] ? (@.b > 1)'",),
    "xml": ("'<a b=\"c\">&lt;é😀</a>'", "'x'", "''"),
    "inet": ("'10.0.0.1'", "'10.0.0.1/8'", "'::1'", "'fe80::1/64'", "'::ffff:1.2.3.4'"),
    "cidr": ("'10.0.0.0/8'", "'::/0'", "'10.1.2.3/32'"),
    "macaddr": ("'08:00:2b:01:02:03'",),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'",),
    "point": ("'(1,2)'", "'(NaN,Infinity)'", "'(1e300,-0)'", "'(0.1,0.2)'"),
    "line": ("'{1,2,3}'", "'{0.1,-1,5e-324}'"),
    "lseg": ("'[(0,0),(1,1)]'", "'[(NaN,0),(Infinity,1)]'"),
    "box": ("'(1,1),(0,0)'", "'(Infinity,1),(-Infinity,0)'"),
    "path": ("'((0,0),(1,1),(2,0))'", "'[(0,0)]'"),
    "polygon": ("'((0,0),(1,1),(2,0))'", "'((NaN,1))'"),
    "circle": ("'<(0,0),1>'", "'<(Infinity,NaN),0>'"),
    "tsvector": ("'a:1A b:2,3B ''quo te'''", "''"),
    "tsquery": ("'a & !b | c <-> d'", "''"),
    "int4range": ("'[1,5)'", "'empty'", "'(,)'", "'[5,]'"),
    "int8range": ("'(,9223372036854775807)'",),
    "numrange": ("'[1.10,2]'", "'[NaN,NaN]'", "'[-Infinity,Infinity)'"),
    "tsrange": ("'[2024-01-01,infinity)'", "'(,\"2024-01-01 10:00\"]'"),
    "tstzrange": ("'[2024-01-01 00:00+02,)'",),
    "daterange": ("'[2024-01-01,2024-12-31]'", "'(-infinity,infinity)'", "'[0044-03-15 BC,)'"),
    "int4multirange": ("'{}'", "'{[1,3),[5,7)}'", "'{(,)}'"),
    "datemultirange": ("'{[2024-01-01,2024-02-01),[2025-01-01,infinity)}'",),
    "nummultirange": ("'{[1.0,2.0]}'",),
    "pg_lsn": ("'0/0'", "'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"),
    "pg_snapshot": ("'10:20:10,14,15'",),
    "txid_snapshot": ("'10:20:10,14,15'",),
    "xid": ("'3'", "'4294967295'"),
    "xid8": ("'18446744073709551615'",),
    "cid": ("'1'",),
    "tid": ("'(0,1)'", "'(4294967295,65535)'"),
    "oid": ("0", "4294967295"),
    "regclass": ("'pg_class'", "'pg_catalog.pg_type'", "0"),
    "regtype": ("'int4'", "'text[]'"),
    "regproc": ("'now'",),
    "regprocedure": ("'abs(int4)'",),
    "regoper": ("'||/'",),
    "regoperator": ("'+(int4,int4)'",),
    "regrole": ("'postgres'",),
    "regnamespace": ("'pg_catalog'",),
    "regconfig": ("'english'",),
    "regdictionary": ("'simple'",),
    "regcollation": ("'\"C\"'",),
    "int2vector": ("'1 2 3'", "''"),
    "oidvector": ("'1 2'",),
    "aclitem": ("'postgres=r/postgres'",),
    "refcursor": ("'cur'",),
    "integer[]": (
        "'{}'",
        "'{1,NULL,3}'",
        "'[0:1]={1,2}'",
        "'[-2:0][1:2]={{1,2},{3,4},{5,6}}'",
        "'{{1},{2}}'",
    ),
    "text[]": (
        "'{}'",
        "array['', 'null', NULL, 'a\"b', 'c\\d', 'e,f', '{g}', ' h ', E'i\\nj', '😀']",
        "'{{a,b},{c,d}}'",
    ),
    "real[]": ("'{NaN,Infinity,-0,NULL}'",),
    "numeric[]": ("'{NaN,1.10,NULL}'",),
    "boolean[]": ("'{t,f,NULL}'",),
    "bytea[]": ("array['\\x00'::bytea, '\\xff']",),
    "timestamptz[]": ("'{infinity,2024-01-01 00:00+02}'",),
    "jsonb[]": ("array['{\"a\": 1}'::jsonb, 'null', NULL]",),
    "box[]": ("'{(1,1),(0,0);(2,2),(1,1)}'",),
    "int4range[]": ("array['[1,5)'::int4range, 'empty']",),
    "mood": ("'sad'", "'so-so, \"ok\"'"),
    "mood[]": ("array['sad', 'so-so, \"ok\"']::mood[]",),
    "price": ("1.50", "'NaN'", "null"),
    "whole": ("7", "null"),
    "yes": ("true", "false", "null"),
    "raw": ("'\\x00ff'", "'\\x'", "null"),
    "pair": (
        "row(1, 'x \"y\" (z), \\ w', null)",
        "row(null, null, null)",
        "row(2, '', array['a','b c'])",
        "null",
    ),
    "pair[]": ("array[row(1, 'a', null), null, row(2, 'b\"c', '{x}')]::pair[]",),
    "nest": ("row(row(1, 'deep \"q\"', '{p}')::pair, 'NaN')", "row(null, 0)"),
    "floatrange": ("'[0.1,NaN]'", "'empty'"),
}

_TYPES = """
    create type mood as enum ('sad', 'so-so, "ok"');
    create domain price as numeric check (value is distinct from 0);
    create domain whole as int; create domain yes as bool; create domain raw as bytea;
    create type pair as (a int, b text, c text[]); create type nest as (p pair, n numeric);
    create type floatrange as range (subtype = float8);
"""


def _case(name: str, kinds: list[str], **options: object) -> Case:
    """One table with a column a type; each row holds one special value of each."""
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(kinds))
    longest = max(len(VALUES[kind]) for kind in kinds)
    rows = [
        "(" + ", ".join([str(row), *(VALUES[kind][row % len(VALUES[kind])] for kind in kinds)]) + ")"
        for row in range(longest)
    ]
    inserts = "".join(f"insert into t values {row};" for row in rows)
    half = "".join(f"c{number} = null" + ", " for number in range(0, len(kinds), 2)).rstrip(", ")
    return Case(
        name,
        setup=f"{_TYPES} create table t (id int primary key, {columns}); insert into t select id + 1000, {', '.join(f'c{n}' for n in range(len(kinds)))} from t; {inserts} update t set id = id + 1000;",
        steps=f"{inserts} begin; update t set {half}; delete from t; rollback; update t set {half} where id % 2 = 0;"
        f"begin; insert into t values {rows[0].replace('(0', '(500', 1)}; savepoint s; update t set id = -id; rollback to s; commit; delete from t where id % 5 = 1; update t set id = id + 10000;",
        **options,  # type: ignore[arg-type]
    )


_KINDS = [kind for kind in VALUES if kind != "xml"]

CASES = (
    *(_case(f"value_{place // 20}", _KINDS[place : place + 20]) for place in range(0, len(_KINDS), 20)),
    # The servers from wheels are built without libxml.
    _case("value_xml", ["xml", "integer"], majors=(15,)),
    Case(
        "value_as_old_image",
        # The same under FULL without a key: rows are found again by every text of theirs.
        setup=_TYPES
        + "create table t (f float8, n numeric, b bool, x bytea, c char(5), j json, a int[], p pair, m money, i interval, t timestamptz); alter table t replica identity full;"
        "insert into t values ('NaN', 'NaN', true, '\\x00', 'ab', '{ }', '[0:0]={5}', row(1, '\"', '{}'), 1, '1 mon', 'infinity'), (null, null, null, null, null, null, null, null, null, null, null);",
        steps="update t set f = 'Infinity', b = not b; update t set n = '-Infinity', x = null, c = ''; begin; update t set j = '[]', a = null; delete from t; rollback; insert into t select * from t; delete from t where b is null; update t set p = row(null, '', null), m = -1, i = '-1 day', t = '-infinity';",
    ),
    Case(
        "value_extensions",
        setup="do $$ begin create extension if not exists hstore schema public; exception when others then null; end $$; do $$ begin create extension if not exists citext schema public; exception when others then null; end $$; do $$ begin create extension if not exists ltree schema public; exception when others then null; end $$;"
        "do $$ begin create table t (id int primary key); if to_regtype('hstore') is not null then alter table t add h hstore; end if; if to_regtype('citext') is not null then alter table t add c citext; end if; if to_regtype('ltree') is not null then alter table t add l ltree; end if; end $$;",
        steps="insert into t (id) values (1); do $$ begin if to_regtype('hstore') is not null then update t set h = '\"a\"=>\"b\\\"c\", d=>NULL, \"\"=>\"\"'; update t set h = ''; end if; if to_regtype('citext') is not null then update t set c = 'MiXed'; end if; if to_regtype('ltree') is not null then update t set l = 'a.b.c'; end if; end $$; begin; delete from t; rollback; update t set id = 2;",
    ),
)
