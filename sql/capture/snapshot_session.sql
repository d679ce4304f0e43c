-- A reader of a baseline: nothing may cut it short, and no row may be hidden from it without an error.
set statement_timeout = 0;
set lock_timeout = 0;
set idle_in_transaction_session_timeout = 0;
set row_security = off;
set synchronize_seqscans = off;
