-- Words of one value: log positions, moments, the text of a key.

-- A log position as PostgreSQL prints it.
create or replace macro lsn_text(lsn) as printf('%X/%X', lsn >> 32, lsn & 4294967295);

-- A log position from its text; NULL when the text is none.
create or replace macro lsn_of(text) as
    case when regexp_full_match(text, '[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}')
         then (('0x' || split_part(text, '/', 1))::ubigint << 32) | ('0x' || split_part(text, '/', 2))::ubigint
    end;

-- A moment is a log position (a number, or text like 16/B374D848) or a time: its position, or NULL.
create or replace macro _moment_lsn(moment) as
    case when regexp_full_match(moment::varchar, '[0-9]+') then moment::varchar::ubigint
         else lsn_of(moment::varchar) end;

-- Its time, or NULL.
create or replace macro _moment_time(moment) as
    case when _moment_lsn(moment) is null then moment::varchar::timestamptz end;

-- A text as JSON writes it, the way Python's json.dumps does, control characters included.
create or replace macro _json_text(text) as
    case when regexp_matches(text, '[\x01-\x1f]')
         then '"' || list_reduce(
                list_transform(string_split(replace(replace(text, '\', '\\'), '"', '\"'), ''),
                    lambda c: case
                        when c >= ' ' then c
                        when c = chr(8) then '\b' when c = chr(9) then '\t' when c = chr(10) then '\n'
                        when c = chr(12) then '\f' when c = chr(13) then '\r'
                        else printf('\u%04x', ord(c)) end),
                lambda whole, c: whole || c, '') || '"'
         else '"' || replace(replace(text, '\', '\\'), '"', '\"') || '"'
    end;

-- The key text of a row: the value itself, or a JSON array of the values in key order.
create or replace macro key_text(parts) as
    case when len(parts) = 1 then parts[1]
         else '[' || array_to_string(list_transform(parts, lambda part: _json_text(part)), ',') || ']' end;
