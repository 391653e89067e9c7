"""What a test can make go wrong: by the environment, and by a file in the user folder while it runs.

`STANDIN_FAULTS` (JSON) holds from the start; `standin-faults.json` in the user folder is laid over it, and
`standin-faults-PORT.json` over that, for instances that share the folder. `STANDIN_START_DELAY` is a short
form of `start_delay`.

start_delay     seconds before anything else happens
exit_at_start   exit code of a process that does not come up
ignore_sigint   only SIGKILL (or SIGTERM) ends it
zombie          the thread that runs prompts ends at the next one; everything answers 200 for ever (F26)
hang_http       requests are taken and never answered; sockets say nothing
job_seconds     every prompt takes so long at least, and can be interrupted meanwhile
step_seconds    every sampler step takes so long
leak_mb         memory that every prompt takes and never gives back
crash_on_job    the process is gone when the next prompt begins: exit code, or minus the signal
exit_now        the process ends by itself, with this code
"""

import json
import os
import signal
import sys
import time

import folder_paths

# A tenth of the second in which a change must be seen: tests wait for it.
LOOK_EVERY_S = 0.1

_port = None
_from_environment = {}
_stamps = None
_current = {}
_leaked = []


def _number(value):
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def get(name):
    """A fault's value; None where it is not set."""
    return _current.get(name)


def seconds(name):
    return max(0.0, float(_number(get(name))))


def files():
    root = folder_paths.get_user_directory()
    return [os.path.join(root, "standin-faults.json"), os.path.join(root, f"standin-faults-{_port}.json")]


def look():
    """Reads the files anew when they changed."""
    global _stamps, _current
    stamps = []
    for file in files():
        try:
            about = os.stat(file)
            stamps.append((about.st_mtime_ns, about.st_size, about.st_ino))
        except OSError:
            stamps.append(None)
    if stamps == _stamps:
        return
    found = dict(_from_environment)
    for file, stamp in zip(files(), stamps):
        if stamp is None:
            continue
        try:
            with open(file, encoding="utf-8") as stream:
                found.update(json.load(stream))
        except (OSError, ValueError):
            return  # Half-written: the next look reads it.
    _stamps = stamps
    _current = found
    print(f"stand-in faults: {json.dumps(found)}", flush=True)
    if found.get("ignore_sigint"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if found.get("exit_now") is not None:
        leave(int(found["exit_now"]))


def set_up(port):
    """Reads them for the first time, and does what is to be done at the start."""
    global _port, _from_environment
    _port = port
    _from_environment = json.loads(os.environ.get("STANDIN_FAULTS") or "{}")
    delay = os.environ.get("STANDIN_START_DELAY")
    if delay:
        _from_environment["start_delay"] = float(delay)
    _current.update(_from_environment)
    look()
    time.sleep(seconds("start_delay"))
    code = get("exit_at_start")
    if code is not None:
        print(f"stand-in: exits with {code}, as it was told", file=sys.stderr, flush=True)
        sys.exit(int(code))


def leave(code):
    """Ends the process at once: no clean-up, no answer. A negative code is a signal."""
    sys.stdout.flush()
    if code < 0:
        os.kill(os.getpid(), -code)
        time.sleep(60)
    os._exit(code)


def on_job():
    """Called in the worker when a prompt begins."""
    if get("crash_on_job") is not None:
        leave(int(get("crash_on_job")))
    megabytes = int(_number(get("leak_mb")))
    # Written to, or the system would only promise it.
    if megabytes > 0:
        _leaked.append(b"\x01" * (megabytes * 1024 * 1024))
    if get("zombie"):
        sys.exit(1)


def leaked_bytes():
    return sum(len(block) for block in _leaked)
