-- What the new version changed: other writers of the catalog look here for conflicts.
insert into ducklake_snapshot_changes (snapshot_id, changes_made) values (?, ?);
