-- The transactions that are in the ledger, with what became of them.
select xid from transactions
