"""The nodes. Names and inputs are those of Holdfast's simulator (packages/simulator/src/nodes/fault-nodes.ts).

Every node lets its picture through and fails, waits or takes something meanwhile. None does anything
but refuse unless HOLDFAST_FAULTS=1 is set for the ComfyUI process: see `guard`.
"""

import builtins
import ctypes
import errno
import importlib
import os
import signal
import sys
import time

import comfy.model_management as memory
import folder_paths
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from server import PromptServer

CATEGORY = "holdfast/faults"
SWITCH = "HOLDFAST_FAULTS"
GIB = 1024**3
MIB = 1024**2
# Between two looks at ComfyUI's interrupt flag.
LOOK_EVERY_S = 0.05
# What was leaked stays here until the process ends: that is the point of it.
LEAKED = []


def guard(node):
    """Refuses unless whoever started this ComfyUI wanted faults: a graph alone must not do harm."""
    if os.environ.get(SWITCH) != "1":
        raise RuntimeError(
            f"{type(node).__name__} does nothing here: it fails on purpose, for drills. "
            f"Start ComfyUI with {SWITCH}=1 to let it, or take the node out of the graph."
        )


def out_of_memory(tried_bytes, message=""):
    """Torch's own error, in torch's words where none are given."""
    if message == "":
        message = f"CUDA out of memory. Tried to allocate {tried_bytes / GIB:.2f} GiB."
    return torch.OutOfMemoryError(message)


def wait(seconds, poll):
    """Waits as a node does that looks at the interrupt flag, or as one that does not."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        if poll:
            memory.throw_exception_if_processing_interrupted()
        left = LOOK_EVERY_S if end is None else end - time.monotonic()
        time.sleep(max(0.0, min(LOOK_EVERY_S, left)))
    if poll:
        memory.throw_exception_if_processing_interrupted()


def exception_class(name):
    """A built-in exception, one of a module (`package.module.Name`), or one made up under that name."""
    module_name, _, base = name.rpartition(".")
    if module_name == "":
        found = getattr(builtins, base, None)
    else:
        try:
            found = getattr(importlib.import_module(module_name), base, None)
        except ImportError:
            found = None
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    return type(base, (Exception,), {"__module__": module_name or "builtins"})


class Fault:
    """What all of them share: a picture in, the same picture out."""

    CATEGORY = CATEGORY
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    REQUIRED = {}
    OPTIONAL = {}

    @classmethod
    def INPUT_TYPES(cls):
        types = {"required": {"image": ("IMAGE",), **cls.REQUIRED}}
        if cls.OPTIONAL:
            types["optional"] = dict(cls.OPTIONAL)
        return types

    def run(self, image, **inputs):
        guard(self)
        return (self.fail(image, **inputs),)


class HoldfastSleep(Fault):
    DESCRIPTION = "Takes its time. poll: an interrupt ends it early."
    REQUIRED = {
        "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 36000.0}),
        "poll": ("BOOLEAN", {"default": True}),
    }

    def fail(self, image, seconds, poll):
        wait(seconds, poll)
        return image


class HoldfastHang(Fault):
    DESCRIPTION = "Never ends. poll: an interrupt does end it."
    REQUIRED = {"poll": ("BOOLEAN", {"default": False})}

    def fail(self, image, poll):
        wait(None, poll)
        return image


class HoldfastRaise(Fault):
    DESCRIPTION = "Raises an error of any type, with any message."
    KINDS = {
        "runtime": RuntimeError,
        "value": ValueError,
        "filenotfound": FileNotFoundError,
        "other": Exception,
    }
    REQUIRED = {
        "kind": (["oom", "enospc", "runtime", "value", "filenotfound", "other"],),
        "message": ("STRING", {"default": ""}),
    }
    OPTIONAL = {"exception_type": ("STRING", {"default": ""})}

    def fail(self, image, kind, message, exception_type=""):
        if kind == "oom":
            raise out_of_memory(2 * GIB, message)
        if kind == "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise (exception_class(exception_type) if exception_type else self.KINDS[kind])(message)


class HoldfastOOM(Fault):
    DESCRIPTION = "Runs out of the card's memory: with more pixels than allowed, or by asking for too much."
    REQUIRED = {"gib": ("FLOAT", {"default": 1000.0, "min": 0.0, "max": 100000.0})}
    OPTIONAL = {"above_pixels": ("INT", {"default": 0, "min": 0, "max": 2**31 - 1})}

    def fail(self, image, gib, above_pixels=0):
        # A batch counts as a whole, as it does on a card: pictures × height × width.
        pixels = image.shape[0] * image.shape[1] * image.shape[2]
        if pixels <= above_pixels:
            return image
        wanted = int(gib * GIB)
        device = memory.get_torch_device()
        if device.type == "cpu":
            if wanted > memory.get_total_memory(device):
                raise out_of_memory(wanted)
        else:
            # Really asked of the card, and given back at once when it was there.
            torch.empty(wanted, dtype=torch.uint8, device=device)
        return image


class HoldfastLeak(Fault):
    DESCRIPTION = (
        "Takes memory and keeps it. held_by cache: until ComfyUI drops its node cache (/free); "
        "process: until the process ends."
    )
    REQUIRED = {
        "mib": ("INT", {"default": 256, "min": 1, "max": 1048576}),
        "where": (["vram", "host"],),
        "held_by": (["process", "cache"],),
    }

    def fail(self, image, mib, where, held_by):
        device = memory.get_torch_device() if where == "vram" else torch.device("cpu")
        # Written to, or the system would only promise it.
        taken = torch.ones(mib * MIB, dtype=torch.uint8, device=device)
        if held_by == "process":
            LEAKED.append(taken)
            return image
        holder = image.clone()
        holder.holdfast_leak = taken
        return holder


class HoldfastFillDisk(Fault):
    DESCRIPTION = (
        "No space left on device. raise: only says so; fill: first writes a file of `mib` into the "
        "temp folder, one at a time, which ComfyUI removes when it starts."
    )
    REQUIRED = {
        "how": (["raise", "fill"],),
        "mib": ("INT", {"default": 64, "min": 1, "max": 4096}),
    }
    FILE = "holdfast-fill-disk.bin"

    def fail(self, image, how, mib):
        if how == "fill":
            folder = folder_paths.get_temp_directory()
            os.makedirs(folder, exist_ok=True)
            block = b"\0" * MIB
            with open(os.path.join(folder, self.FILE), "wb") as file:
                for _ in range(mib):
                    file.write(block)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class HoldfastExit(Fault):
    DESCRIPTION = "Raises SystemExit, which ends the thread that runs prompts and nothing else."

    def fail(self, image):
        sys.exit(1)


class HoldfastCrash(Fault):
    DESCRIPTION = "The process dies: by signal 9, by an access to no memory, or by leaving without a word."
    OPTIONAL = {
        "how": (["kill", "segfault", "exit"], {"default": "kill"}),
        "exit_code": ("INT", {"default": 1, "min": 0, "max": 255}),
    }

    def fail(self, image, how="kill", exit_code=1):
        if how == "segfault":
            ctypes.string_at(0)
        if how == "exit":
            os._exit(exit_code)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


class HoldfastBlock(Fault):
    DESCRIPTION = "Blocks what comes after it, without failing the prompt."
    OPTIONAL = {"message": ("STRING", {"default": "nothing to save"})}

    def fail(self, image, message="nothing to save"):
        return ExecutionBlocker(message)


class HoldfastProgressText(Fault):
    DESCRIPTION = "Sends text to the client."
    REQUIRED = {"text": ("STRING", {"default": ""})}

    @classmethod
    def INPUT_TYPES(cls):
        return {**super().INPUT_TYPES(), "hidden": {"unique_id": "UNIQUE_ID"}}

    def fail(self, image, text, unique_id=None):
        PromptServer.instance.send_progress_text(text, unique_id)
        return image


NODES = (
    HoldfastSleep,
    HoldfastHang,
    HoldfastRaise,
    HoldfastOOM,
    HoldfastLeak,
    HoldfastFillDisk,
    HoldfastExit,
    HoldfastCrash,
    HoldfastBlock,
    HoldfastProgressText,
)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.__name__: node.__name__ for node in NODES}
