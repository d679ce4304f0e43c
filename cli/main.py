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
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from flux.cli import capture, config, console, health, ledger, query, setup, state
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


def group(name: str, help_text: str) -> typer.Typer:
    """Return a group of commands that prints its help when called alone."""
    made = typer.Typer(
        name=name,
        help=help_text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )

    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            console.out(context.get_help() + "\n")

    made.callback(invoke_without_command=True, help=help_text)(alone)
    return made


def add(parent: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """Hang a command into the tree; the first sentence of its docstring is its line in the list."""
    first = (command.__doc__ or "").strip().split("\n")[0]
    parent.command(name, short_help=first.partition(". ")[0].rstrip("."))(command)


app = typer.Typer(
    name="flux", rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=SETTINGS
)


def _version(value: bool) -> None:
    if value:
        from flux import __version__

        console.out(f"flux {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
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
    if context.invoked_subcommand is None:
        console.out(context.get_help() + "\n")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave its server and ledger up afterwards.")] = False,
) -> None:
    """Show it on a small shop: an incident happens, is captured, and is answered."""
    from flux.cli.demo import run as run_demo

    run_demo(keep=keep)


def _assemble() -> None:
    """Hang every command into the tree, in the order in which a newcomer meets them."""
    add(app, "demo", demo)
    add(app, "init", setup.init)
    add(app, "track", setup.track)
    add(app, "untrack", setup.untrack)
    add(app, "up", capture.up)
    add(app, "status", health.status)
    add(app, "doctor", health.doctor)
    states = group("state", "What happened to rows: history, blame, at, diff.")
    add(states, "history", state.history)
    add(states, "blame", state.blame)
    add(states, "at", state.at)
    add(states, "diff", state.diff)
    app.add_typer(states)
    add(app, "sql", query.sql)
    ledgers = group("ledger", "Look after the ledger: info, compact.")
    add(ledgers, "info", ledger.info)
    add(ledgers, "compact", ledger.compact)
    app.add_typer(ledgers)
    configs = group("config", "Settings and where they come from.")
    add(configs, "show", config.show)
    app.add_typer(configs)


_assemble()


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run `flux` with `arguments`; return its exit code. Nothing escapes but SystemExit."""
    console.prepare_streams()
    words, debug = _without_debug(arguments)
    try:
        command = typer.main.get_command(app)
        lighten(command)
        code = command(args=words, prog_name="flux", standalone_mode=False)
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
