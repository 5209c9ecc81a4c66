"""Terminal output of both commands: printing, progress bars, and errors as sentences.

No other module prints. All output passes through `printable`, whatever its source.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.errors import MemgptRagError
from memgpt_rag.io.cache_folder import CacheWarning
from memgpt_rag.io.printable import printable
from memgpt_rag.io.system_errors import machine_fault_behind, system_sentence

if TYPE_CHECKING:
    from tqdm import tqdm

# Exit status of a program that wrote to a closed pipe, as a shell reports it: 128 + SIGPIPE.
CUT_OFF = 141

reader_option = click.option(
    "--reader",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Reader trained for the model: a folder that memgpt-rag train wrote, a hub name, auto for the one that ships, or none.",
)
no_cache_option = click.option(
    "--no-cache",
    is_flag=True,
    help="Take no keys, states or splits that earlier runs kept in your cache folder, and keep none there.",
)


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text; control characters are shown escaped.

    Args:
        err: to standard error.
        nl: end the line.
    """
    try:
        click.echo(printable(text, lines=True), err=err, nl=nl)
    except OSError as error:
        error.filename = error.filename or f"standard {'error' if err else 'output'}"
        raise


def is_terminal() -> bool:
    """Whether standard output is a terminal on which a line can be written anew."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def take_back(shown: str) -> bool:
    """Remove a text from the terminal that was printed last, without a line break behind it.

    Returns:
        Whether it could be: it stands in one line.
    """
    # Chinese characters are two columns wide.
    is_one_line = "\n" not in shown and 2 * len(printable(shown)) < shutil.get_terminal_size().columns
    if is_one_line and shown:
        click.echo("\r\x1b[2K", nl=False, color=True)  # as it is: the caller has looked for a terminal
    return is_one_line


def progress_bar(*, desc: str | None = None, shown: bool = True, **settings: Any) -> tqdm[Any]:
    """Create a progress bar, shown on a terminal only.

    Args:
        desc: text before the bar.
        shown: False for a bar that is never shown.
        settings: passed on to `tqdm`.
    """
    from tqdm import tqdm

    return tqdm(desc=None if desc is None else printable(desc), disable=None if shown else True, **settings)


def version_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --version to a command."""
    return click.version_option(package_name="memgpt_rag", message="%(prog)s %(version)s")(command)


class SentenceGroup(click.Group):
    """A group of commands that prints errors as sentences.

    The exit status is 2 for wrong usage, 1 for an error, and 141, without a message, for a closed pipe. MEMGPT_RAG_DEBUG=1
    prints tracebacks, too.

    Args:
        renamed_commands: old name → name of a command; the old one works for one release, with a notice on stderr.
        renamed_options: command → old name → name of an option, or of an option with its value, likewise.
    """

    def __init__(
        self,
        *arguments: Any,
        renamed_commands: Mapping[str, str] = {},
        renamed_options: Mapping[str, Mapping[str, str]] = {},
        **settings: Any,
    ):
        super().__init__(*arguments, **settings)
        self.renamed_commands, self.renamed_options = renamed_commands, renamed_options

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, also by its old name, and give its options their present names."""
        if args and args[0] in self.renamed_commands:
            args = [_renamed(args[0], self.renamed_commands), *args[1:]]
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, _with_new_names(rest, self.renamed_options.get(name or "", {}))

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **settings: Any) -> Any:  # type: ignore[override]
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **settings)
        _open_streams()
        _show_messages()
        try:
            status = self._status(args, **settings)
        except BrokenPipeError:
            status = CUT_OFF
        _let_go_of_streams()
        sys.exit(status)

    def _status(self, args: Sequence[str] | None, **settings: Any) -> int:
        try:
            return super().main(args, standalone_mode=False, **settings) or 0
        except click.ClickException as error:
            shown = _Kept()
            error.show(shown)
            echo(shown.getvalue(), err=True, nl=False)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            echo("Aborted!", err=True)
            return 1
        except SystemExit as end:  # click's own answer to a closed pipe, while it prints help
            return CUT_OFF if _is_cut_off() else int(end.code or 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _warnings_as_sentences():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _is_cut_off():
                raise click.exceptions.Exit(CUT_OFF) from error
            if os.environ.get("MEMGPT_RAG_DEBUG"):
                echo(traceback.format_exc(), err=True)
            raise click.ClickException(_sentence(error)) from error


def _with_new_names(args: list[str], renamed: Mapping[str, str]) -> list[str]:
    """Replace renamed options, or options with their values, by their present names."""
    present, before = list[str](), ""
    for place, argument in enumerate(args):
        if argument == "--":
            return present + args[place:]
        option, equals, value = argument.partition("=")
        if f"{before} {argument}" in renamed:
            argument = _renamed(f"{before} {argument}", renamed).removeprefix(f"{before} ")
        elif equals and f"{option} {value}" in renamed:
            argument = _renamed(f"{option} {value}", renamed).replace(" ", "=")
        elif option.startswith("--") and option in renamed:
            argument = _renamed(option, renamed) + equals + value
        present.append(argument)
        before = argument
    return present


def _renamed(old: str, renamed: Mapping[str, str]) -> str:
    echo(f"{old} is now called {renamed[old]}; the old name goes with the next release.", err=True)
    return renamed[old]


class _Kept(io.StringIO):
    """Captures click's output; as a terminal, since click strips escape sequences otherwise and they could not be shown."""

    def isatty(self) -> bool:
        return True


def _sentence(error: Exception) -> str:
    if isinstance(error, MemgptRagError | ValueError):
        fault = machine_fault_behind(error)
        return str(error) if fault is None else str(system_sentence(fault))
    return system_sentence(error) or (
        f"{type(error).__name__}: {error}. This is a fault of memgpt_rag, not of your input; run again with "
        "MEMGPT_RAG_DEBUG=1 and report what it prints."
    )


def _open_streams() -> None:
    """Reopen standard streams that were closed before the start, so that no file of a memory gets their file descriptor."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals with a limited character set


class _Record(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return printable(super().getMessage(), lines=True)


def _form(*arguments: Any, form: Any = warnings.formatwarning, **settings: Any) -> str:
    return printable(form(*arguments, **settings), lines=True)


@contextlib.contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Print warnings about the cache folder as sentences, each once, without their line of code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_sentence(message: Warning | str, category: type[Warning], *place: Any, **settings: Any) -> None:
            if issubclass(category, CacheWarning):
                echo(f"Warning: {message}", err=True)
            else:
                show(message, category, *place, **settings)

        warnings.showwarning = show_sentence
        warnings.simplefilter("default", CacheWarning)
        yield


def _show_messages() -> None:
    """Pass logs and warnings of libraries through `printable`, too, since they quote names of models and files."""
    logging.setLogRecordFactory(_Record)
    warnings.formatwarning = _form


def _is_cut_off() -> bool:
    """Return whether standard output is a closed pipe."""
    ends = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            ends.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in ends.poll(0))


def _let_go_of_streams() -> None:
    """Discard buffered output that a stream does not accept, so that Python does not report it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # noqa: PERF203 - there are two
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def quiet_libraries() -> None:
    """Disable progress bars and advice of model libraries, and what they say of each new try to reach a hub."""
    import transformers

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
