"""What every script's command line shares: config and overrides, ``--help`` from the schema, errors in one line, exit code 2."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from samis.config import describe_keys, keys_named, load_config
from samis.errors import ConfigError, Interrupted, Parser, PeerError, UserError

T = TypeVar("T")
DENIED = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check its rights, or name another",
    errno.EPERM: "check its rights, or name another",
    errno.EROFS: "name one on a disk that can be written",
    errno.ENOTDIR: "a part of its path is a file: name another",
    errno.EEXIST: "it is a file where a folder is needed: name another",
    errno.EISDIR: "it is a folder where a file is needed: name another",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do about the system's refusals of a file or folder."""


def parse(
    description: str | None,
    schema: type[T],
    *,
    extend: Callable[[argparse.ArgumentParser], None] | None = None,
    argv: Sequence[str] | None = None,
) -> tuple[T, argparse.Namespace]:
    """Read ``CONFIG [key=value ...]`` from the command line into `schema`.

    Args:
        description: the script's docstring.
        schema: dataclass of the config.
        extend: adds the script's own options.
        argv: arguments; None takes the process's.

    Raises:
        ConfigError: a mistake in the config or an override.
    """
    parser = Parser(
        description=description,
        epilog="keys of the config, their defaults and meanings; override any with key=value:\n\n"
        + describe_keys(schema),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="YAML file of the experiment, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override a key, such as adapter.rank=16")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop before any work")
    if extend:
        extend(parser)
    arguments, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        raise ConfigError(_unknown_option(unknown, schema))
    return load_config(arguments.config, arguments.overrides, schema=schema), arguments


def _unknown_option(unknown: Sequence[str], schema: type) -> str:
    """Return the message for options that a script does not have, such as ``--epochs 5``: the override to write instead."""
    option, _, value = unknown[0].partition("=")
    name = option.lstrip("-").replace("-", "_")
    keys = [key for part in (name, name.rpartition(".")[2]) for key in keys_named(schema, part) if key.endswith(name)]
    if not option.startswith("-") or not keys:
        return f"{option}: unknown option; --help lists options and keys, and a key is set by key=value"
    given = value or (unknown[1] if len(unknown) > 1 and not unknown[1].startswith("-") else "VALUE")
    return f"{option}: unknown option; write {' or '.join(f'{key}={given}' for key in dict.fromkeys(keys))}"


def run(main: Callable[[], None]) -> None:
    """Run a script's main; a user's mistake prints one line and exits with code 2, no traceback."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if isinstance(error, Interrupted):
            print(error, file=sys.stderr)
            sys.exit(128 + error.signal)
        if isinstance(error, PeerError):
            sys.exit(2)
        if out_of_memory(error):
            said = " ".join(str(error).split())[:120]
            fail(
                f"out of memory ({said}); lower what grows with it: training.batch_size, metrics.batch_size, frame.frame_px, "
                "prompt.points_per_side, adapter.rank or adapter.width"
            )
        if disk_full(error):
            file = getattr(error, "filename", None) or "a file"
            fail(f"no space left on the disk while writing {file}; free some and run the same command again")
        if isinstance(error, UserError):
            fail(error)
        if isinstance(error, OSError) and error.errno in DENIED:
            fail(
                f"{error.filename}: expected a file or folder to read or write, got '{error.strerror}'; {DENIED[error.errno]}"
            )
        raise


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory was refused; torch says so by RuntimeErrors of its own."""
    told = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in told or "CUDA out of memory" in told


def disk_full(error: BaseException) -> bool:
    """Return whether a full disk is behind an error; torch and safetensors wrap the system's own."""
    told = str(error)
    wrapped = "No space left" in told or "PytorchStreamWriter failed writing" in told
    return wrapped or getattr(error, "errno", None) == errno.ENOSPC


def fail(message: object) -> None:
    """Print one line to stderr and exit with code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
