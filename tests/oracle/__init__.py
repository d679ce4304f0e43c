"""The tests that hold Flux to the truth: PostgreSQL itself, and drivers that know what they did.

Promises: nothing here trusts the code under test for what is true. `truth` reads tables as the server
prints them, `fold` is a model of docs/FORMAT.md's folding in plain Python, `attempts` is a driver that
notes which statement it rolled back. Assumes: the servers of tests/servers.

    corpus/        phenomena as SQL, one module a family; test_corpus runs them on every server and plugin
    test_workload  generated tables and interleaved sessions
    test_outcomes  threads with nested savepoints; crashes with transactions open
    test_exactly_once  capture killed again and again under load

FLUX_ORACLE=long makes the generated tests run for as long as a night is worth.
"""
