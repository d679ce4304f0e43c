select count(*) filter (where op = 'baseline'), count(*) filter (where op = 'delete') from baseline_differences;
