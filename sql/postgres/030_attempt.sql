-- Attempts: each change as a non-transactional message, which a rollback does not take back.
-- objects: function flux.attempt()

-- AFTER ROW, and AFTER STATEMENT for TRUNCATE. TOTAL, as 020_tag.sql says. The text of the rows is
-- made inside an exception block (2 us), since an output function may fail (a row of more than 1 GB);
-- nothing is written inside it, for a write would take a subtransaction id of its own.
-- A row without text, or with more than 128 MiB of it (a plugin's escaping must stay below 1 GB),
-- leaves an attempt with both texts empty.
create or replace function flux.attempt()
returns trigger language plpgsql security definer as $$
declare
    row_text_bytes_max constant pg_catalog.int4 := 134217728;
    xid      pg_catalog.xid8 := pg_catalog.pg_current_xact_id();
    subxid   pg_catalog.xid := '0';
    mark     pg_catalog.text := '-';
    memo     pg_catalog.text;
    zone     pg_catalog.text := pg_catalog.current_setting('TimeZone');
    style    pg_catalog.text := pg_catalog.current_setting('DateStyle');
    span     pg_catalog.text := pg_catalog.current_setting('IntervalStyle');
    bytes    pg_catalog.text := pg_catalog.current_setting('bytea_output');
    digits   pg_catalog.text := pg_catalog.current_setting('extra_float_digits');
    in_zone  pg_catalog.bool;
    in_style pg_catalog.bool;
    old_text pg_catalog.text := '';
    new_text pg_catalog.text := '';
    header   pg_catalog.text;
begin
    if pg_catalog.has_function_privilege(3577::pg_catalog.oid, 'execute') is not true then
        return null;
    end if;

    -- Which subtransaction, and which mark shares its fate.
    if pg_catalog.texteq(tg_op, 'INSERT') or pg_catalog.texteq(tg_op, 'UPDATE') then
        subxid := new.xmin;
        if not pg_catalog.xideq(subxid, pg_catalog.xid(xid)) then
            memo := pg_catalog.current_setting('flux.mark', true);
            if pg_catalog.texteq(pg_catalog.split_part(memo, ' ', 1), subxid::pg_catalog.text) then
                mark := pg_catalog.split_part(memo, ' ', 2);
            else
                mark := pg_catalog.pg_logical_emit_message(true, 'flux.mark', '1'::pg_catalog.text);
                perform pg_catalog.set_config('flux.mark', pg_catalog.concat(subxid, ' ', mark), true);
            end if;
        end if;
    elsif pg_catalog.texteq(tg_op, 'DELETE') and pg_catalog.xideq(old.xmax, pg_catalog.xid(xid)) then
        subxid := old.xmax;
    else
        -- A delete in a subtransaction, or of a row that others have locked: xmax is then the number of
        -- a MultiXact, which must not be taken for that of a subtransaction. Or a TRUNCATE.
        mark := pg_catalog.pg_logical_emit_message(true, 'flux.mark', '1'::pg_catalog.text);
    end if;

    -- The rows, printed as decoding prints them, whatever this session's settings.
    in_zone := zone operator(pg_catalog.=) any ('{UTC,Etc/UTC,GMT,Etc/GMT}'::pg_catalog.text[]);
    in_style := pg_catalog.starts_with(style, 'ISO') and pg_catalog.texteq(span, 'postgres')
        and pg_catalog.texteq(bytes, 'hex') and digits operator(pg_catalog.=) any ('{1,2,3}'::pg_catalog.text[]);
    begin
        if not in_zone then
            perform pg_catalog.set_config('TimeZone', 'UTC', true);
        end if;
        if not in_style then
            perform pg_catalog.set_config('DateStyle', 'ISO', true), pg_catalog.set_config('IntervalStyle', 'postgres', true),
                pg_catalog.set_config('bytea_output', 'hex', true), pg_catalog.set_config('extra_float_digits', '1', true);
        end if;
        -- Not a cast: a cast from the table's row type to text may have been created by anyone.
        if pg_catalog.textne(tg_op, 'INSERT') and pg_catalog.textne(tg_op, 'TRUNCATE') then
            old_text := pg_catalog.textin(pg_catalog.record_out(old));
        end if;
        if pg_catalog.textne(tg_op, 'DELETE') and pg_catalog.textne(tg_op, 'TRUNCATE') then
            new_text := pg_catalog.textin(pg_catalog.record_out(new));
        end if;
        if not in_zone then
            perform pg_catalog.set_config('TimeZone', zone, true);
        end if;
        if not in_style then
            perform pg_catalog.set_config('DateStyle', style, true), pg_catalog.set_config('IntervalStyle', span, true),
                pg_catalog.set_config('bytea_output', bytes, true), pg_catalog.set_config('extra_float_digits', digits, true);
        end if;
    exception when others then
        -- Settings are back as they were: a subtransaction that fails takes them back.
        old_text := '';
        new_text := '';
    end;
    if pg_catalog.int8gt(pg_catalog.octet_length(old_text)::pg_catalog.int8
            operator(pg_catalog.+) pg_catalog.octet_length(new_text)::pg_catalog.int8, row_text_bytes_max::pg_catalog.int8) then
        old_text := '';
        new_text := '';
    end if;

    header := pg_catalog.concat('1 ', xid, ' ', subxid, ' ', tg_relid, ' ',
        case when pg_catalog.textne(pg_catalog.current_setting('flux.context_lsn', true), '')
            then pg_catalog.current_setting('flux.context_lsn', true) else '-' end,
        ' ', mark, ' ',
        (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8,
        ' ', pg_catalog.lower(pg_catalog."left"(tg_op, 1)));
    if pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'UTF8'::pg_catalog.name then
        perform pg_catalog.pg_logical_emit_message(false, 'flux.attempt',
            pg_catalog.concat(header, pg_catalog.octet_length(old_text), ' ', old_text, new_text));
    else
        perform pg_catalog.pg_logical_emit_message(false, 'flux.attempt', coalesce(
            flux.utf8(pg_catalog.concat(header, pg_catalog.octet_length(flux.utf8(old_text, false)), ' ', old_text, new_text), false),
            flux.utf8(pg_catalog.concat(header, '0 '), true)));
    end if;
    return null;
end $$;

revoke execute on function flux.attempt() from public;
