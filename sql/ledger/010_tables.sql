-- Format 1: the tables of a ledger. docs/FORMAT.md is the contract; the columns after the blank
-- line of a table are internal to Flux. Run once, in the ledger's own schema, when it is created.

create table changes (
    source varchar, commit_lsn ubigint, lsn ubigint, seq ubigint, xid ubigint, subxid ubigint,
    "at" timestamptz, relation varchar, relation_id uinteger, key varchar, old_key varchar,
    op varchar, before map(varchar, varchar), after map(varchar, varchar), unchanged varchar[],
    outcome varchar, request_id varchar, actor varchar, context_id ubigint
);

create table contexts (
    source varchar, context_id ubigint, xid ubigint, lsn ubigint, request_id varchar,
    actor varchar, attributes map(varchar, varchar), application_name varchar, db_user varchar,
    client_addr varchar, backend_pid integer, statement varchar
);

create table transactions (
    source varchar, xid ubigint, commit_lsn ubigint, end_lsn ubigint, "at" timestamptz,
    outcome varchar, change_count ubigint, request_ids varchar[], origin varchar
);

create table relations (
    source varchar, relation_id uinteger, relation varchar, lsn ubigint,
    columns struct(name varchar, type varchar, attnum smallint, is_key boolean, not_null boolean)[],
    replica_identity varchar,

    key varchar[], missing map(varchar, varchar), lossy varchar[], root_id uinteger,
    row_columns varchar[], tracked boolean
);

create table ddl (
    source varchar, lsn ubigint, xid ubigint, "at" timestamptz, command varchar, object varchar,
    statement varchar, renames struct(kind varchar, relation varchar, old varchar, new varchar)[],
    request_id varchar
);

create table requests (
    request_id varchar, trace_id varchar, service varchar, method varchar, route varchar,
    path varchar, status integer, started_at timestamptz, duration_ms double, error_type varchar,
    error_message varchar, error_location varchar, error_stack varchar, code_version varchar,
    request struct(headers map(varchar, varchar), body varchar),
    response struct(headers map(varchar, varchar), body varchar),
    is_replay boolean, replay_of varchar
);

create table spans (
    trace_id varchar, span_id varchar, parent_id varchar, request_id varchar, service varchar,
    name varchar, kind varchar, started_at timestamptz, duration_ms double, status varchar,
    attributes map(varchar, varchar),
    events struct(name varchar, "at" timestamptz, attributes map(varchar, varchar))[]
);

create table exchanges (
    request_id varchar, seq ubigint, kind varchar, target varchar, fingerprint varchar,
    occurrence ubigint, request varchar, response varchar, error varchar, duration_ms double
);

create table positions (
    source varchar, slot varchar, system_identifier varchar, timeline ubigint,
    commit_lsn ubigint, "at" timestamptz,

    end_lsn ubigint
);

create table gaps (
    source varchar, from_lsn ubigint, to_lsn ubigint, from_at timestamptz, to_at timestamptz,
    reason varchar
);

create table baselines (
    source varchar, relation_id uinteger, relation varchar, lsn ubigint, "at" timestamptz,
    row_count ubigint
);
