-- The commits of transactions.
select xid, commit_lsn from {transactions} where source = {source} and commit_lsn is not null and xid in ({ids});
