"""Names that must be quoted: dots, quotes, upper case, spaces, unicode, keywords."""

from __future__ import annotations

from oracle.script import Case

CASES = (
    Case(
        "name_odd",
        setup="""
            create table "Odd Name" ("ID" int primary key, "sel""ect" text, "a.b" text, "é😀" text, "with space" text, " " text, "'" text, "\\" text, "{}" text, "name" text, "value" text, "columns" text);
            insert into "Odd Name" values (1, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k');
            create table "a.b" (id int primary key, v text); create table "quo""te" (id int primary key, v text);
            create table "ünïcode😀" (id int primary key, v text); create table "Select" ("From" int primary key, "Where" text);
            create table "back\\slash" (id int primary key, v text); create table "tab	and
newline" (id int primary key, "c	d
e" text);
        """,
        track=(
            '"Odd Name"',
            '"a.b"',
            '"quo""te"',
            '"ünïcode😀"',
            '"Select"',
            '"back\\slash"',
            '"tab	and\nnewline"',
        ),
        steps="""
            update "Odd Name" set "sel""ect" = 'x', "a.b" = null, " " = ''; update "Odd Name" set "ID" = 2; insert into "Odd Name" ("ID", "'") values (3, '''');
            begin; update "Odd Name" set "é😀" = 'gone', "\\" = '\\', "value" = '"'; delete from "Odd Name"; rollback;
            insert into "a.b" values (1, 'x'); update "a.b" set v = 'y'; insert into "quo""te" values (1, 'x'); begin; delete from "quo""te"; rollback;
            insert into "ünïcode😀" values (1, 'x'); update "ünïcode😀" set v = 'y'; insert into "Select" values (1, 'x'); update "Select" set "From" = 2;
            insert into "back\\slash" values (1, 'x'); update "back\\slash" set v = 'y';
            insert into "tab	and
newline" values (1, 'x'); update "tab	and
newline" set "c	d
e" = 'y'; begin; delete from "tab	and
newline"; rollback;
            alter table "Odd Name" rename column "sel""ect" to "Other"; update "Odd Name" set "Other" = 'z'; truncate "a.b";
        """,
    ),
    Case(
        "Name.Odd Schema",
        setup="create table t (id int primary key, v text); insert into t values (1, 'a');",
        steps="update t set v = 'b'; begin; delete from t; rollback; insert into t values (2, 'c'); truncate t;",
    ),
    Case(
        "name_of_types",
        setup="""
            create schema if not exists "Type Schema"; create type "Type Schema"."My Enum" as enum ('One "1"', 'Two, 2', ''''); create type "Type Schema"."my pair" as ("A" int, "b c" text);
            create domain "Type Schema"."dom.ain" as text; create type "Type Schema"."my Range" as range (subtype = int);
            create table t (id int primary key, e "Type Schema"."My Enum", p "Type Schema"."my pair", d "Type Schema"."dom.ain", r "Type Schema"."my Range", es "Type Schema"."My Enum"[], ps "Type Schema"."my pair"[]);
            insert into t values (1, 'One "1"', row(1, 'x "y" , (z)'), 'd', '[1,5)', array['Two, 2', '''']::"Type Schema"."My Enum"[], array[row(1, 'a"b'), row(null, '')]::"Type Schema"."my pair"[]);
        """,
        steps="update t set e = 'Two, 2'; update t set p = row(null, null), d = ''; update t set ps = null, es = '{}', r = 'empty'; begin; update t set p = row(5, 'back\\slash'); rollback; insert into t values (2);",
    ),
    Case(
        "name_long",
        setup="create table "
        + "t" * 63
        + " ("
        + "k" * 63
        + " int primary key, "
        + "é" * 31
        + " text); insert into "
        + "t" * 63
        + " values (1, 'a');",
        track=("t" * 63,),
        steps="update "
        + "t" * 63
        + " set "
        + "é" * 31
        + " = 'b'; begin; delete from "
        + "t" * 63
        + "; rollback;",
    ),
    Case(
        "name_many_columns",
        setup="create table t (id int primary key, "
        + ", ".join(f"c{i} int" for i in range(400))
        + "); insert into t (id, c7) values (1, 7);",
        steps="update t set c399 = 1, c0 = 2; insert into t (id, c200) values (2, 3); begin; update t set c5 = 5; rollback; delete from t where id = 1;",
    ),
)
