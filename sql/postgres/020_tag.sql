-- The request tag: how it is set, and how it gets into the log.
-- objects: function flux.tag(text, text, text); function flux.utf8(text, boolean)
-- objects: function flux.tag_statement()
--
-- The functions that run inside the application's statements are TOTAL: whatever the application set,
-- lacks or revoked, they return. They are SECURITY DEFINER (an application role needs no right on
-- anything of ours) and without a SET clause, which costs 3 us a call: every function, type and
-- operator is qualified instead, so no search_path can put another one in its place.
-- Every function call in an expression that runs is prepared again in each transaction, 0.3 us each, in
-- branches of a CASE that are not taken as well: hence IF around what is rare, assignments instead of
-- PERFORM (which starts an executor), and no initial values.

-- Tag the changes that follow in this transaction. Null means absent. For the triggers as settings, and where a
-- table has none, also as the message that an application would write (sql/recorder/tag_message.sql).
create or replace function flux.tag(request_id text, actor text default null, attributes text default null)
returns void language plpgsql volatile security definer as $$
declare
    content pg_catalog.text;
    note    pg_catalog.text;
    lsn     pg_catalog.pg_lsn;
begin
    note := pg_catalog.concat(
        pg_catalog.set_config('flux.request_id', coalesce(request_id, ''), true),
        pg_catalog.set_config('flux.actor', coalesce(actor, ''), true),
        pg_catalog.set_config('flux.attributes', coalesce(attributes, ''), true));
    if pg_catalog.pg_is_in_recovery()
       or not exists (select from flux.tracked t where not t.tag_trigger)
       or pg_catalog.has_function_privilege(3577::pg_catalog.oid, 'execute') is not true then
        return;
    end if;
    content := pg_catalog.json_build_object(
        'request_id', pg_catalog."left"(request_id, 1024),
        'actor', pg_catalog."left"(actor, 1024),
        'attributes', pg_catalog."left"(attributes, 65536))::pg_catalog.text;
    if pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'UTF8'::pg_catalog.name then
        lsn := pg_catalog.pg_logical_emit_message(true, 'flux.tag', content);
    else
        lsn := pg_catalog.pg_logical_emit_message(true, 'flux.tag', flux.utf8(content, true));
    end if;
end $$;

-- A message's content in UTF-8, for databases in another encoding. What has no UTF-8 form becomes
-- '?' when lossy, else the result is null. An exception block is a subtransaction: no write in here.
create or replace function flux.utf8(content text, lossy boolean)
returns bytea language plpgsql stable as $$
begin
    return pg_catalog.convert_to(content, 'UTF8');
exception when others then
    if not lossy then
        return null;
    end if;
    return pg_catalog.convert_to(pg_catalog.regexp_replace(content, '[^\u0001-\u007f]', '?', 'g'), 'UTF8');
end $$;

-- BEFORE STATEMENT. Emits the context once per transaction and per change of the tag; with the
-- argument 'rollbacks' also as a non-transactional message, whose position the attempts refer to.
-- Two local settings remember it, and a savepoint that is rolled back takes them and the
-- transactional message with it: flux.seen_tag, the tag that is in force in the log, and
-- flux.context_lsn, the position of its non-transactional message.
-- 3577 is pg_logical_emit_message(boolean, text, text) in every release.
create or replace function flux.tag_statement()
returns trigger language plpgsql security definer as $$
declare
    tag     pg_catalog.text;
    secret  pg_catalog.int8;
    query   pg_catalog.text;
    content pg_catalog.text;
    note    pg_catalog.text;
    lsn     pg_catalog.pg_lsn;
begin
    -- Bounds in characters, for a message must fit into memory several times over. Never empty, as
    -- flux.seen_tag is after a transaction that set it.
    tag := pg_catalog.concat_ws(E'\x1f', 'tag',
        pg_catalog."left"(pg_catalog.current_setting('flux.request_id', true), 1024),
        pg_catalog."left"(pg_catalog.current_setting('flux.actor', true), 1024),
        pg_catalog."left"(pg_catalog.current_setting('flux.attributes', true), 65536));
    if pg_catalog.texteq(tag, pg_catalog.current_setting('flux.seen_tag', true))
       and (tg_nargs operator(pg_catalog.=) 0
            or pg_catalog.textne(pg_catalog.current_setting('flux.context_lsn', true), ''))
       or pg_catalog.has_function_privilege(3577::pg_catalog.oid, 'execute') is not true
       or pg_catalog.has_sequence_privilege('flux.secret'::pg_catalog.regclass, 'select') is not true then
        return null;
    end if;

    secret := pg_catalog.pg_sequence_last_value('flux.secret'::pg_catalog.regclass);
    -- Of a long statement both ends: a comment that names the request is often the last thing in it.
    query := pg_catalog."left"(pg_catalog.current_query(), 2001);
    if pg_catalog.length(query) operator(pg_catalog.>) 2000 then
        query := pg_catalog.concat(pg_catalog."left"(query, 1600), ' ... ',
            pg_catalog."right"(pg_catalog.current_query(), 400));
    end if;
    -- json_object of two arrays: a quarter of what json_build_object takes.
    content := pg_catalog.concat('"backend_pid" : ', pg_catalog.pg_backend_pid(), ', ', pg_catalog.substr(
        pg_catalog.json_object(
            '{request_id,actor,attributes,application_name,db_user,client_addr,statement}'::pg_catalog.text[],
            array[
                case when pg_catalog.textne(pg_catalog.current_setting('flux.request_id', true), '')
                    then pg_catalog."left"(pg_catalog.current_setting('flux.request_id', true), 1024) end,
                case when pg_catalog.textne(pg_catalog.current_setting('flux.actor', true), '')
                    then pg_catalog."left"(pg_catalog.current_setting('flux.actor', true), 1024) end,
                case when pg_catalog.textne(pg_catalog.current_setting('flux.attributes', true), '')
                    then pg_catalog."left"(pg_catalog.current_setting('flux.attributes', true), 65536) end,
                case when pg_catalog.textne(pg_catalog.current_setting('application_name', true), '')
                    then pg_catalog.current_setting('application_name', true) end,
                case when pg_catalog.textne(pg_catalog.current_setting('role', true), 'none')
                    then pg_catalog.current_setting('role', true) else session_user::pg_catalog.text end,
                pg_catalog.host(pg_catalog.inet_client_addr()),
                query]
        )::pg_catalog.text, 2));

    if pg_catalog.texteq(tag, pg_catalog.current_setting('flux.seen_tag', true)) is not true then
        note := pg_catalog.concat(secret, ' {', content);
        if pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'UTF8'::pg_catalog.name then
            lsn := pg_catalog.pg_logical_emit_message(true, 'flux.context', note);
        else
            lsn := pg_catalog.pg_logical_emit_message(true, 'flux.context', flux.utf8(note, true));
        end if;
        note := pg_catalog.concat(pg_catalog.set_config('flux.seen_tag', tag, true),
            pg_catalog.set_config('flux.context_lsn', '', true));
    end if;
    if tg_nargs operator(pg_catalog.<>) 0 then
        content := pg_catalog.concat(secret, ' {"xid" : "', pg_catalog.pg_current_xact_id(), '", ', content);
        if pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'UTF8'::pg_catalog.name then
            note := pg_catalog.set_config('flux.context_lsn',
                pg_catalog.pg_logical_emit_message(false, 'flux.context', content)::pg_catalog.text, true);
        else
            note := pg_catalog.set_config('flux.context_lsn', pg_catalog.pg_logical_emit_message(
                false, 'flux.context', flux.utf8(content, true))::pg_catalog.text, true);
        end if;
    end if;
    return null;
end $$;

revoke execute on function flux.utf8(text, boolean) from public;
revoke execute on function flux.tag_statement() from public;
grant execute on function flux.tag(text, text, text) to public;
