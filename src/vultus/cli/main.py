"""The door: which command was asked for, and what its end means to the shell.

Exit status: 0 all good; 2 wrong usage or any failure; 130 interrupted from the keyboard; 143 told to stop.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType

import tyro

from .. import __version__
from ..errors import VultusError
from . import ablate, align, dataset, doctor, evaluate, fuse, models, reconstruct, register, train
from .outcome import UNEXPECTED_REMEDY, one_line

FAILED, INTERRUPTED, TERMINATED = 2, 130, 143

DESCRIPTION = """vultus turns ordinary photos into textured, animatable 3D heads.

Examples:
  vultus reconstruct anna.jpg -o out         one photo: out/anna/face.glb and more
  vultus reconstruct album/ -o out --jobs 2  every face of every photo in a folder
  vultus align party.jpg -o out              dense alignment: points, pose, depth in a moment
  vultus register scan.ply -o out            a 3D scan in the face model's terms
  vultus fuse front.jpg left.jpg -o anna     several photos of one person: one head
  vultus evaluate scan anna.ply --photo anna.jpg   measured against a scan, or a benchmark
  vultus ablate photos/                      what each part of the method is worth
  vultus dataset capture -o captures         calibrated pictures and scans of synthetic people
  vultus dataset synthetic -o heads          drawn heads whose truth is known
  vultus train tiny --data shards -o run     train a network on samples that `vultus dataset` made
  vultus models                              face models, their licences, how to get them
  vultus doctor                              is everything here that vultus needs?

vultus COMMAND --help says more. vultus --version says which version this is."""

_COMMANDS = {
    "reconstruct": (reconstruct.Reconstruct, reconstruct.DESCRIPTION),
    "align": (align.Align, align.DESCRIPTION),
    "register": (register.Register, register.DESCRIPTION),
    "fuse": (fuse.Fuse, fuse.DESCRIPTION),
    "evaluate": (evaluate.Evaluate, evaluate.DESCRIPTION),
    "ablate": (ablate.Ablate, ablate.DESCRIPTION),
    "train": (train.Train, train.DESCRIPTION),
    "dataset": (dataset.Dataset, dataset.DESCRIPTION),
    "models": (models.Models, models.DESCRIPTION),
    "doctor": (doctor.Doctor, doctor.DESCRIPTION),
}


class Terminated(BaseException):
    """SIGTERM arrived: unwind like a keyboard interrupt, so that nothing half-written or running stays behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` unless given) and return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"vultus {__version__}")
        return 0
    debug = "--debug" in arguments
    if not debug:
        warnings.simplefilter("ignore")  # what a user must know is in the results; the rest is for developers
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _parse(arguments).run()
    except VultusError as error:
        return _fail(one_line(error))
    except KeyboardInterrupt:
        return _fail(
            "interrupted: what is finished is kept; the same command goes on from there", INTERRUPTED
        )
    except Terminated:
        return _fail("stopped: what is finished is kept; the same command goes on from there", TERMINATED)
    except BrokenPipeError:  # e.g. `vultus models | head -1`: nobody is listening any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(f"unexpected {type(error).__name__}: {one_line(error)}; {UNEXPECTED_REMEDY}")
    finally:
        signal.signal(signal.SIGTERM, before)


def _parse(
    arguments: list[str],
) -> (
    reconstruct.Reconstruct
    | align.Align
    | register.Register
    | evaluate.Evaluate
    | ablate.Ablate
    | train.Train
    | dataset.Dataset
    | fuse.Fuse
    | models.Models
    | doctor.Doctor
):
    flags = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    if arguments[:1] == ["evaluate"]:
        return tyro.extras.subcommand_cli_from_dict(
            evaluate.BENCHMARKS, prog="vultus evaluate", description=evaluate.DESCRIPTION, args=arguments[1:] or ["--help"], config=flags
        )  # fmt: skip
    if arguments and arguments[0] in _COMMANDS:
        command, description = _COMMANDS[arguments[0]]
        prog = f"vultus {arguments[0]}"
        return tyro.cli(command, prog=prog, description=description, args=arguments[1:], config=flags)
    tyro.extras.subcommand_cli_from_dict(  # no such command: this shows the list, and ends the program
        {name: command for name, (command, _) in _COMMANDS.items()},
        prog="vultus",
        description=DESCRIPTION,
        args=arguments or ["--help"],
        config=flags,
    )
    raise AssertionError("unreachable: no command was named")


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _fail(message: str, status: int = FAILED) -> int:
    print(f"vultus: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
