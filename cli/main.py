"""The `flux` command: the tree of commands, and what every end of one looks like.

Exit codes: 0 yes or done, 1 the answer is no, 2 usage or configuration, 3 database unreachable,
4 timed out, 5 ledger missing, locked or damaged, 70 a bug of ours, 130 interrupted, 141 the reader
of our output went away. An error is up to three plain lines on stderr; `--debug` shows where it
was raised.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from flux.cli import console
from flux.cli.coercion import lighten
from flux.model.errors import FluxError, UsageError

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141

EXITS = {
    0: "yes, or done",
    1: "the answer is no: no such row, differences, a fault found",
    2: "wrong usage or configuration",
    3: "the database cannot be reached; worth a retry",
    4: "timed out",
    5: "the ledger is missing, locked or damaged",
    EXIT_BUG: "a bug of ours; please report it with the output of --debug",
    EXIT_INTERRUPTED: "interrupted",
    EXIT_PIPE: "the reader of the output went away",
}
"""What each exit code means; the reference in docs/CLI.md is made from it."""

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


COMMANDS: dict[str, str | dict[str, str]] = {
    "demo": "flux.cli.show:demo",
    "init": "flux.cli.setup:init",
    "track": "flux.cli.setup:track",
    "untrack": "flux.cli.setup:untrack",
    "up": "flux.cli.capture:up",
    "status": "flux.cli.health:status",
    "doctor": "flux.cli.health:doctor",
    "state": {
        "history": "flux.cli.state:history",
        "blame": "flux.cli.state:blame",
        "at": "flux.cli.state:at",
        "diff": "flux.cli.state:diff",
    },
    "tail": "flux.cli.tail:tail",
    "why": "flux.cli.why:why",
    "trace": "flux.cli.trace:trace",
    "incident": {"list": "flux.cli.incident:list_", "show": "flux.cli.incident:show"},
    "tui": "flux.tui.command:tui",
    "sql": "flux.cli.query:sql",
    "ledger": {"info": "flux.cli.ledger:info", "compact": "flux.cli.ledger:compact"},
    "config": {"show": "flux.cli.config:show"},
}
"""Every command and where it lives, in the order in which a newcomer meets them."""

GROUPS = {
    "state": "What happened to rows: history, blame, at, diff",
    "incident": "Failing requests in groups: list, show",
    "ledger": "Look after the ledger: info, compact",
    "config": "Settings and where they come from",
}


def _version(value: bool) -> None:
    if value:
        from flux import __version__

        console.out(f"flux {__version__}\n")
        raise typer.Exit


def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[  # noqa: ARG001 - taken out before parsing, so that it may stand anywhere
        bool, typer.Option("--debug", help="On an error, show where it was raised; may stand anywhere.")
    ] = False,
) -> None:
    """Git log and git blame for the rows of a PostgreSQL database, rolled-back writes included.

    See it at once: flux demo. On your database: flux init, flux track TABLE --rollbacks,
    flux up; then flux state history TABLE --id KEY.
    """
    alone(context)


def alone(context: typer.Context) -> None:
    """Print the help of a group that was called without a command."""
    if context.invoked_subcommand is None:
        console.out(context.get_help() + "\n")


def tree(words: Sequence[str] = ()) -> Any:
    """Return the tree of commands; only the branch of the first of `words`, if that names one.

    Importing every command's module for one of them takes a tenth of a cold answer's time.
    """
    app = _group("flux", root)
    chosen = words[0] if words and words[0] in COMMANDS else None
    for name, place in COMMANDS.items():
        if chosen not in {None, name}:
            continue
        if isinstance(place, str):
            _add(app, name, place)
            continue
        branch = _group(name, alone, GROUPS[name])
        for child, child_place in place.items():
            _add(branch, child, child_place)
        app.add_typer(branch)
    command = typer.main.get_command(app)
    lighten(command)
    return command


def _group(name: str, called: Callable[..., None], help_text: str | None = None) -> typer.Typer:
    made = typer.Typer(
        name=name,
        help=help_text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )
    made.callback(invoke_without_command=True, help=help_text)(called)
    return made


def _add(parent: typer.Typer, name: str, place: str) -> None:
    """Hang a command into the tree; the first sentence of its docstring is its line in the list."""
    module, _, function = place.partition(":")
    command = getattr(import_module(module), function)
    first = (command.__doc__ or "").strip().split("\n")[0].partition(". ")[0]
    parent.command(name, short_help=first.rstrip("."))(command)


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    words, _ = _without_debug(sys.argv[1:])
    if words[:1] != ["state"]:
        sys.exit(run(sys.argv[1:]))
    # Most of a cold question's time is imports and taking them down again. pyarrow does without numpy where
    # there is none, and a process that only read has nothing to tidy up.
    sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]
    os._exit(_end(run(sys.argv[1:])))


def run(arguments: Sequence[str]) -> int:
    """Run `flux` with `arguments`; return its exit code. Nothing escapes but SystemExit."""
    console.prepare_streams()
    words, debug = _without_debug(arguments)
    try:
        code = tree(words)(args=words, prog_name="flux", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_went_away()
    except (KeyboardInterrupt, typer.Abort):
        return _end(EXIT_INTERRUPTED)
    except TyperException as error:
        console.report(_of_usage(error))
        return _end(2)
    except FluxError as error:
        if debug:
            traceback.print_exc()
        console.report(error)
        return _end(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last line: no traceback unless asked for
        if type(error).__name__ == "InterruptException":  # DuckDB's word for Ctrl-C
            return _end(EXIT_INTERRUPTED)
        return _end(_unforeseen(error, debug=debug))
    return code if isinstance(code, int) else 0


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out wherever it stands, and let `flux help X` mean `flux X --help`."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end] or bool(os.environ.get("FLUX_DEBUG"))
    words = [word for word in words[:end] if word != "--debug"] + words[end:]
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    return words, debug


def _of_usage(error: TyperException) -> UsageError:
    """Return what the parser found wrong, in our own form."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "flux"
    what = " ".join(error.format_message().split()).replace("Value error, ", "")
    return UsageError(what.rstrip("."), hint=f"see {command} --help")


def _unforeseen(error: Exception, *, debug: bool) -> int:
    """Report an exception that is no answer of ours; its message may hold values, so it stays unsaid."""
    if debug:
        traceback.print_exc()
    if isinstance(error, OSError):
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        console.report(UsageError(f"{error.strerror or type(error).__name__}{where}"))
        return 2
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}:{last.lineno}"  # noqa: PTH119
    bug = FluxError(
        f"this is a bug: {type(error).__name__} at {place}",
        hint="nothing stored is lost; please report it with the output of the same command and --debug",
    )
    console.report(bug)
    return EXIT_BUG


def _reader_went_away() -> int:
    """`flux … | head`: end quietly, and keep Python from complaining when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_PIPE


def _end(code: int) -> int:
    """Flush what was printed so far; a reader that is gone does not matter any more."""
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        return _reader_went_away()
    return code


if __name__ == "__main__":
    main()
