-- Attempts: each change as a non-transactional message, which a rollback does not take back.
-- objects: function flux.attempt()

-- AFTER ROW, and AFTER STATEMENT for TRUNCATE. TOTAL, as 020_tag.sql says. The text of the rows is
-- made inside an exception block (2 us), since an output function may fail (a row of more than 1 GB);
-- nothing is written inside it, for a write would take a subtransaction id of its own.
-- A row without text, or with more than 64 MiB of it (a plugin's escaping must stay below 1 GB), leaves
-- an attempt with both texts empty.
create or replace function flux.attempt()
returns trigger language plpgsql security definer as $$
declare
    secret   pg_catalog.int8;
    subxid   pg_catalog.xid;
    mark     pg_catalog.text := '-';
    old_text pg_catalog.text := '';
    new_text pg_catalog.text := '';
    kept     pg_catalog.text[];
    note     pg_catalog.text;
    old_size pg_catalog.int4;
    lsn      pg_catalog.pg_lsn;
begin
    if pg_catalog.has_function_privilege(3577::pg_catalog.oid, 'execute') is not true then
        return null;
    end if;

    -- Which subtransaction, and which mark shares its fate; '-' at the top level.
    if pg_catalog.texteq(tg_op, 'UPDATE') or pg_catalog.texteq(tg_op, 'INSERT') then
        subxid := new.xmin;
        if not pg_catalog.xideq(new.xmin, pg_catalog.xid(pg_catalog.pg_current_xact_id())) then
            mark := pg_catalog.current_setting('flux.mark', true);
            if pg_catalog.texteq(pg_catalog.split_part(mark, ' ', 1), subxid::pg_catalog.text) then
                mark := pg_catalog.split_part(mark, ' ', 2);
            else
                mark := pg_catalog.pg_logical_emit_message(true, 'flux.mark', '1'::pg_catalog.text);
                note := pg_catalog.set_config('flux.mark', pg_catalog.concat(subxid, ' ', mark), true);
            end if;
        end if;
    elsif pg_catalog.texteq(tg_op, 'DELETE')
          and pg_catalog.xideq(old.xmax, pg_catalog.xid(pg_catalog.pg_current_xact_id())) then
        subxid := old.xmax;
    else
        -- A TRUNCATE; or a delete in a subtransaction, or of a row that others have locked: its xmax is the
        -- number of a MultiXact, which must not be taken for that of a subtransaction.
        subxid := '0';
        mark := pg_catalog.pg_logical_emit_message(true, 'flux.mark', '1'::pg_catalog.text);
    end if;

    -- The rows as decoding prints them, whatever this session's settings. Not a cast: a cast from the
    -- table's row type to text may have been created by anyone.
    begin
        -- First, so that it is there when a row's text fails; in here, for an owner without the right must not fail.
        secret := pg_catalog.pg_sequence_last_value('flux.secret'::pg_catalog.regclass);
        if not (pg_catalog.current_setting('TimeZone') operator(pg_catalog.=) any ('{UTC,Etc/UTC,GMT}'::pg_catalog.text[])
                and pg_catalog.starts_with(pg_catalog.current_setting('DateStyle'), 'ISO')
                and pg_catalog.texteq(pg_catalog.current_setting('IntervalStyle'), 'postgres')
                and pg_catalog.texteq(pg_catalog.current_setting('bytea_output'), 'hex')
                and pg_catalog.texteq(pg_catalog.current_setting('extra_float_digits'), '1')) then
            kept := array[pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('DateStyle'),
                pg_catalog.current_setting('IntervalStyle'), pg_catalog.current_setting('bytea_output'),
                pg_catalog.current_setting('extra_float_digits')];
            note := pg_catalog.concat(
                pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO', true),
                pg_catalog.set_config('IntervalStyle', 'postgres', true), pg_catalog.set_config('bytea_output', 'hex', true),
                pg_catalog.set_config('extra_float_digits', '1', true));
        end if;
        if pg_catalog.texteq(tg_op, 'UPDATE') then
            old_text := pg_catalog.textin(pg_catalog.record_out(old));
            new_text := pg_catalog.textin(pg_catalog.record_out(new));
        elsif pg_catalog.texteq(tg_op, 'INSERT') then
            new_text := pg_catalog.textin(pg_catalog.record_out(new));
        elsif pg_catalog.texteq(tg_op, 'DELETE') then
            old_text := pg_catalog.textin(pg_catalog.record_out(old));
        end if;
        if kept is not null then
            note := pg_catalog.concat(
                pg_catalog.set_config('TimeZone', kept[1], true), pg_catalog.set_config('DateStyle', kept[2], true),
                pg_catalog.set_config('IntervalStyle', kept[3], true), pg_catalog.set_config('bytea_output', kept[4], true),
                pg_catalog.set_config('extra_float_digits', kept[5], true));
        end if;
    exception when others then
        -- The settings are back as they were: a subtransaction that fails takes them back.
        old_text := '';
        new_text := '';
    end;

    if secret is null then
        return null;
    end if;
    if pg_catalog.int4gt(pg_catalog.octet_length(old_text), 67108864)
       or pg_catalog.int4gt(pg_catalog.octet_length(new_text), 67108864) then
        old_text := '';
        new_text := '';
    end if;
    -- Trigger argument 'convert': the database is not in UTF-8, and lengths are those of the conversion.
    if tg_nargs operator(pg_catalog.<>) 0 then
        if flux.utf8(pg_catalog.textcat(old_text, new_text), false) is null then
            old_text := '';
            new_text := '';
        end if;
        old_size := pg_catalog.octet_length(flux.utf8(old_text, true));
    else
        old_size := pg_catalog.octet_length(old_text);
    end if;
    -- Settings are the role's own to set: one word of each, so that the fields behind it stay where they are.
    note := pg_catalog.concat_ws(' ', secret, '1', pg_catalog.pg_current_xact_id(), subxid, tg_relid,
        case when pg_catalog.textne(pg_catalog.current_setting('flux.context_lsn', true), '')
            then pg_catalog.split_part(pg_catalog.current_setting('flux.context_lsn', true), ' ', 1) else '-' end,
        mark,
        (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8,
        pg_catalog.concat(pg_catalog.lower(pg_catalog."left"(tg_op, 1)), old_size),
        pg_catalog.textcat(old_text, new_text));
    if tg_nargs operator(pg_catalog.=) 0 then
        lsn := pg_catalog.pg_logical_emit_message(false, 'flux.attempt', note);
    else
        lsn := pg_catalog.pg_logical_emit_message(false, 'flux.attempt', flux.utf8(note, true));
    end if;
    return null;
end $$;

revoke execute on function flux.attempt() from public;
