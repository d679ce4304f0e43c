"""What the documents say is so: commands and options exist, links lead somewhere, snippets run."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capture.rig import make_rig
from flux.capture import tracking
from flux.cli.main import EXITS, tree
from flux.cli.reference import leaves
from servers.fixtures import on
from servers.server import Database

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TAGS = (ROOT / "docs" / "TAGS.md").read_text()

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#]+)(?:#[^)]*)?\)")
_PLACE = re.compile(
    r"`((?:cli|capture|decoder|ledger|model|sql|tests|bench|docs|examples|package|\.ci)/[\w./*-]*)`"
)


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(text: str) -> Iterator[list[str]]:
    """Yield every `flux …` command of a document, as words."""
    candidates = [line for _, block in _FENCE.findall(text) for line in block.splitlines()]
    candidates += _INLINE.findall(_FENCE.sub("", text))
    for candidate in candidates:
        line = re.sub(r"^\s*\$ ", "", candidate).strip()
        if re.match(r"flux( |$)", line):
            yield shlex.split(line.replace("…", "X"), comments=True)[1:]


def known_commands() -> dict[tuple[str, ...], Any]:
    found = leaves(tree(), "flux")
    return {tuple(path.split()[1:]): command for path, command in found}


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_every_command_and_option_exists(document: Path) -> None:
    known = known_commands()
    groups = {path[0] for path in known if len(path) > 1}
    wrong = []
    for words in commands(document.read_text()):
        if not words or words[0].startswith("-") or "COMMAND" in words or words == ["help"]:
            continue
        if len(words) == 1 and words[0] in groups:
            continue
        # `flux state history|blame` names several at once.
        names = words[1].split("|") if words[0] in groups else [""]
        for name in names:
            path = (words[0], name) if name else (words[0],)
            if path not in known:
                wrong.append(" ".join(words))
                continue
            given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            strange = given - options_of(known[path]) - {"--help", "-h", "--debug"}
            if strange:
                wrong.append(f"{' '.join(words)}: no {', '.join(strange)}")
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_links_lead_somewhere(document: Path) -> None:
    text = _FENCE.sub("", document.read_text())
    assert not [
        link for link in _LINK.findall(text) if not (document.parent / link.replace("\\", "")).exists()
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_places_in_the_sources_exist(document: Path) -> None:
    text = _FENCE.sub("", document.read_text())
    assert not [place for place in _PLACE.findall(text) if not list(ROOT.glob(place.rstrip("/")))]


def test_the_exit_codes_are_all_told() -> None:
    text = (ROOT / "docs" / "OPERATIONS.md").read_text().partition("## Exit codes")[2]
    told = {int(code) for code in re.findall(r"(?:^|· )(\d+) ", text.strip().replace("\n", " "))}
    assert told == set(EXITS) - {141}  # which only a shell sees


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    benches = re.search(r"^BENCHES := (.*)$", makefile, re.MULTILINE)
    assert benches is not None
    assert {path.stem for path in (ROOT / "bench").glob("*.py")} >= set(benches[1].split())
    targets |= {f"bench-{name}" for name in [*benches[1].split(), "NAME"]}
    for document in DOCUMENTS:
        text = document.read_text()
        named = re.findall(r"`make ([a-zN][a-zA-Z_-]*)", text) + re.findall(
            r"^(?:\$ )?make ([a-z-]+)", text, re.MULTILINE
        )
        assert set(named) <= targets, document


@on((15, "pgoutput"))
def test_every_form_of_the_tag_is_sql(database: Database) -> None:
    statements = set(re.findall(r"select (?:flux\.tag|set_config)\([^`\"\n]*\)", TAGS))
    assert len(statements) >= 4
    with database.connect() as connection:
        connection.execute("create schema flux")
        connection.execute(
            "create function flux.tag(text, text, text default null) returns void language sql return null"
        )
        for statement in statements:
            bound = re.sub(r"\$\d|%s|\?", "'text'", statement)
            connection.execute(bound)


@on((15, "pgoutput"))
def test_the_message_tags_a_table_without_trigger(database: Database, tmp_path: Path) -> None:
    (statement,) = re.findall(r"^select set_config.*pg_logical_emit_message.*$", TAGS, re.MULTILINE)
    with database.connect() as connection:
        connection.execute("create table orders (id int primary key)")
        rig = make_rig(database, tmp_path, "orders")
        tracking.track(connection, ["orders"], tag_trigger=False)
        rig.once()
        bound = statement.replace("$1", "'550e8400'")
        connection.execute(f"begin; {bound}; insert into orders values (1); commit")
    rig.once()
    assert rig.ask("select request_id from changes where op = 'insert'") == [("550e8400",)]


@on((15, "pgoutput"))
def test_the_python_snippet_tags_its_transaction(database: Database) -> None:
    (snippet,) = [block for language, block in _FENCE.findall(TAGS) if "connection.transaction" in block]
    with database.connect() as connection:
        connection.execute("create table users (id int primary key, plan text, seen text)")
        connection.execute("insert into users values (42, 'free')")
        connection.execute(
            textwrap.dedent("""
                create function see() returns trigger language plpgsql as $$
                begin new.seen := current_setting('flux.request_id', true); return new; end $$
            """)
        )
        connection.execute("create trigger see before update on users for each row execute function see()")
        exec(snippet, {"connection": connection, "request_id": "550e8400", "user_id": 42})  # noqa: S102
        found = connection.execute("select plan, seen from users").fetchall()
        assert found == [("pro", "550e8400")]
        # It ended with its transaction.
        assert connection.execute("select current_setting('flux.request_id', true)").fetchone() == ("",)
