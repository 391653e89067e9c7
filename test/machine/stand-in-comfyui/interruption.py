"""What a running node sees of the world: the interrupt flag, and the progress that it tells."""

import time

LOOK_EVERY_S = 0.02


class Interrupted(Exception):
    """Raised in a node whose prompt was interrupted."""


_is_wanted = False
# Set by the worker while a node runs: (value, most, picture) → tells of it.
_listener = None


def want(value=True):
    global _is_wanted
    _is_wanted = value


def look():
    """Raises when an interrupt is wanted, and takes it."""
    global _is_wanted
    if _is_wanted:
        _is_wanted = False
        raise Interrupted()


def wait(seconds, polls):
    """Sleeps, like a node that looks at the flag or like one that does not."""
    end = time.monotonic() + seconds
    while True:
        if polls:
            look()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(LOOK_EVERY_S, left) if polls else left)


def listen(listener):
    global _listener
    _listener = listener


def progress(value, most, picture=None):
    """One step of a node: told to whoever watches, and a place where an interrupt takes effect."""
    look()
    if _listener is not None:
        _listener(value, most, picture)
