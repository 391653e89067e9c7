"""Packs of custom nodes: imported at the start, told of in the log in ComfyUI's own words (F24)."""

import importlib.util
import logging
import os
import sys
import time
import traceback

import folder_paths
import nodes


def load_all():
    """Imports every pack; one that fails costs nothing but its nodes."""
    times = []
    for root in folder_paths.pack_folders():
        if not os.path.isdir(root):
            continue
        for name in sorted(os.listdir(root)):
            path = os.path.join(root, name)
            if name == "__pycache__" or name.endswith(".disabled"):
                continue
            if os.path.isfile(path) and not name.endswith(".py"):
                continue
            begun = time.perf_counter()
            is_good = load(path)
            times.append((time.perf_counter() - begun, path, is_good))
    if times:
        logging.info("\nImport times for custom nodes:")
        for seconds, path, is_good in sorted(times):
            mark = "" if is_good else " (IMPORT FAILED)"
            logging.info(f"{seconds:6.1f} seconds{mark}: {path}")
        logging.info("")


def load(path):
    """Imports one pack and takes its classes; False when that failed."""
    name = os.path.splitext(os.path.basename(path))[0] if os.path.isfile(path) else os.path.basename(path)
    file = path if os.path.isfile(path) else os.path.join(path, "__init__.py")
    try:
        # By path, as ComfyUI names them: a pack's name need be no name of Python's.
        module_name = path.replace(".", "_x_")
        places = None if os.path.isfile(path) else [path]
        spec = importlib.util.spec_from_file_location(module_name, file, submodule_search_locations=places)
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
        if mappings is None:
            logging.warning(f"Skip {path} module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).")
            return False
        for class_name, cls in mappings.items():
            nodes.NODE_CLASS_MAPPINGS[class_name] = cls
            nodes.MODULES[class_name] = f"custom_nodes.{name}"
        nodes.NODE_DISPLAY_NAME_MAPPINGS.update(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {})
        return True
    except Exception as error:
        logging.warning(traceback.format_exc())
        logging.warning(f"Cannot import {path} module for custom nodes: {error}")
        return False
