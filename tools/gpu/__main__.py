"""`python3 -m tarpon.tools.gpu`: as `tarpon gpu`, where nothing but PyTorch and Triton may be installed yet."""

import argparse
import inspect
import sys

from tarpon.tools.gpu.command import run


def main(argv: list[str]) -> int:
    """The options are the keyword arguments of `run`."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tarpon.tools.gpu", description=inspect.getdoc(run), formatter_class=argparse.RawTextHelpFormatter
    )
    for name, parameter in inspect.signature(run).parameters.items():
        if parameter.annotation is bool:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            kind = float if "float" in str(parameter.annotation) else str
            parser.add_argument(f"--{name}", type=kind, default=parameter.default)
    try:
        return run(**vars(parser.parse_args(argv)))
    except (ValueError, OSError) as error:
        print(f"tarpon gpu: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
