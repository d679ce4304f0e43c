-- Files that a killed writer left behind and no catalog ever named.
call ducklake_delete_orphaned_files('flux', older_than => now() - to_seconds($grace_s));
