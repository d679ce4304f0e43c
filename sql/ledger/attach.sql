-- Attaching takes no parameters: the caller puts quoted literals into the braces.
attach {catalog} as flux (
    {mode},
    data_path {data},
    override_data_path true,
    meta_journal_mode 'WAL',
    meta_busy_timeout {busy_timeout_ms}
);
use flux;
