-- What DuckLake's own compaction would sort by. Flux's sorts changes in nearly this order (`ledger/compaction.py`):
-- a row's history then lies in a few row groups of each file.
alter table changes set sorted by (relation, key, commit_lsn);
alter table contexts set sorted by (source, context_id);
alter table transactions set sorted by (source, commit_lsn);
