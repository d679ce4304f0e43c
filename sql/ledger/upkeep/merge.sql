-- Small files of a table become larger ones, sorted as the table says. The braces take constants of ours.
call ducklake_merge_adjacent_files('flux', '{table}', max_file_size => {bytes_max}, max_compacted_files => {merged_max});
