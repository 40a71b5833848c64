"""The program `drdc`; `python -m drdc` is the same."""

import signal
import sys

#: Interrupted runs rely on locks of the kernel (`fcntl.flock`), which end with the process that holds them.
WINDOWS = "drdc: Windows is not supported, because it lacks the file locks of Unix; use WSL 2"


def main() -> int:
    """Run the command of the command line; returns its exit code, see `drdc.cli.main`.

    Ctrl-C is met from the first import on, and not any more once the exit code is known. On Windows that
    import would fail.
    """
    if sys.platform == "win32":
        print(WINDOWS, file=sys.stderr)
        return 2
    try:
        from drdc.runtime.allocator import use_huge_pages

        use_huge_pages()
        from drdc.cli import main as command

        return command()
    except KeyboardInterrupt:
        print("drdc: interrupted; nothing was begun", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
