"""The house rules that a program can check: sizes, floors, what is packaged, how tests wait."""

from __future__ import annotations

import ast
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = sorted(path.parent for path in ROOT.glob("*/__init__.py"))

SHOP = ROOT / "examples" / "shop"
"""What the demo runs; packed beside it as `EXAMPLE`."""
EXAMPLE = "flux.cli.demo.example"

LINES_MAX = 600
LINES_MEDIAN_MAX = 200
FUNCTION_LINES_MAX = 70


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in room.rglob("*.py"))


def sources_of_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("*.py"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_modules_fit_in_a_head() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in sources()}
    assert lines
    too_long = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > LINES_MAX}
    assert not too_long
    assert statistics.median(lines.values()) <= LINES_MEDIAN_MAX


def test_functions_fit_a_screen() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not too_long


def test_every_module_opens_with_its_contract() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources()
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_modules_are_nouns_of_the_domain() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "common", "types", "misc"}
    assert not [str(path.relative_to(ROOT)) for path in sources() if path.stem in forbidden]


def test_tests_wait_for_conditions() -> None:
    sleeping = re.compile(r"\bsleep\(")
    allowed = {Path(__file__)}
    assert not [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources_of_tests()
        if path not in allowed
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if sleeping.search(line) and "pg_sleep(" not in line
    ]


def test_tests_mock_nothing() -> None:
    mocking = re.compile(r"\b(unittest\.mock|MagicMock|mocker)\b")
    assert not [
        str(path.relative_to(ROOT))
        for path in sources_of_tests()
        if path != Path(__file__) and mocking.search(path.read_text())
    ]


def test_sql_is_not_put_together_from_strings() -> None:
    """Statements live in .sql files; identifiers that vary go through `psycopg.sql`."""
    statement = re.compile(
        r"^\s*(select\b.*\bfrom\b|insert\s+into\b|update\s+\S+\s+set\b|delete\s+from\b|with\s+\w+\s+as\b"
        r"|(create|alter|drop)\s+(or\s+replace\s+)?"
        r"(table|view|macro|schema|role|function|trigger|event|publication|index|database)\b)",
        re.IGNORECASE | re.DOTALL,
    )
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        for line, start in _formatted_texts(path)
        if statement.match(start)
    ]
    assert not found


def _formatted_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and constant parts of each f-string."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [
                part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "x"
                for part in node.values
            ]
            if len(parts) > 1:
                yield node.lineno, "".join(parts)


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    there = set()
    for init in (init for room in ROOMS for init in room.rglob("__init__.py")):
        parts = init.parent.relative_to(ROOT).parts
        there.add(".".join(("flux", *(parts if parts[0] != "package" else parts[1:]))))
    there.add(EXAMPLE)
    assert sorted(there) == sorted(project["tool"]["setuptools"]["packages"])


def test_the_wheel_holds_every_module_and_every_sql_file(tmp_path: Path) -> None:
    # Built from a copy: setuptools puts what an earlier build left behind into the next wheel.
    copy = tmp_path / "source"
    copy.mkdir()
    for room in ROOMS:
        shutil.copytree(room, copy / room.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(SHOP, copy / "examples" / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(copy)], check=True, timeout=120)
    (wheel,) = tmp_path.glob("flux_ledger-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("flux/")}
        licensed = any(name.endswith("/LICENSE") for name in archive.namelist())
    expected = {"flux/py.typed"}
    for path in (*sources(), *(ROOT / "sql").rglob("*.sql"), *(ROOT / "tui").glob("*.tcss")):
        parts = path.relative_to(ROOT).parts
        expected.add("/".join(("flux", *(parts if parts[0] != "package" else parts[1:]))))
    expected |= {f"{EXAMPLE.replace('.', '/')}/{path.name}" for path in SHOP.iterdir() if path.is_file()}
    assert packed == expected
    assert licensed


def test_rooms_import_only_from_floors_below(tmp_path: Path) -> None:
    done = _lint_imports(_tree(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("model/lsn.py", "import flux.ledger"),
        ("ledger/__init__.py", "import flux.decoder"),
        ("decoder/__init__.py", "import flux.capture"),
        ("decoder/__init__.py", "import duckdb"),
        ("capture/__init__.py", "import typer"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, module: str, planted: str) -> None:
    tree = _tree(tmp_path)
    with (tree / "flux" / module).open("a") as file:
        file.write(f"\n{planted}\n")
    done = _lint_imports(tree)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def _tree(folder: Path) -> Path:
    """Copy the rooms as the package they are installed as."""
    ignore = shutil.ignore_patterns("__pycache__", "*.sql")
    shutil.copytree(ROOT / "package", folder / "flux", ignore=ignore)
    for room in ROOMS:
        if room.name != "package":
            shutil.copytree(room, folder / "flux" / room.name, ignore=ignore)
    return folder


def _lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
