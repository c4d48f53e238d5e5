"""The command line: ``medclipsam VERB …``.

Exit codes: 0 all was done; 1 an unexpected error; 2 something asked for could not be done, and standard error says
what; 130 stopped with Ctrl-C. Each verb is a module here with a function ``run(args)``, imported only when it is
called, so that ``--help`` stays quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from napari_medclipsam.cli.parser import build_parser
from napari_medclipsam.errors import MedclipsamError

DONE, UNEXPECTED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every expected problem is one message on standard error."""
    args = build_parser().parse_args(argv)
    try:
        return int(import_module(f"napari_medclipsam.cli.{args.verb}").run(args))
    except MedclipsamError as error:
        report_error(error, args.debug)
        return REFUSED
    except KeyboardInterrupt:
        print("medclipsam: stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`| head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNEXPECTED
    except Exception as error:
        report_error(error, args.debug)
        return UNEXPECTED


def report_error(error: BaseException, debug: bool, prefix: str = "") -> str:
    """Print an error as one message on standard error, with the traceback under ``--debug``; return the message."""
    if isinstance(error, MedclipsamError):
        message = str(error)
    elif isinstance(error, MemoryError):
        message = "The memory of this machine is not enough; close other programs or choose a smaller input or model."
    else:
        message = f"Unexpected {type(error).__name__}: {error}. Run again with --debug for the details to report."
    print(f"medclipsam: {prefix}{message}", file=sys.stderr)
    if debug:
        traceback.print_exception(error)
    return message
