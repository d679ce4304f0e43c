-- How many positions are kept in the catalog, which every reader copies.
select count(*) - coalesce((select sum(record_count) from __ducklake_metadata_flux.ducklake_data_file as file
    join __ducklake_metadata_flux.ducklake_table as owner using (table_id)
    where owner.table_name = 'positions' and file.end_snapshot is null), 0)
from positions;
