"""Where files are: ComfyUI's folders, and the models in them. Packs import this module by its name."""

import os

# The one dependency: without `pip install -r requirements.txt` nothing of this starts.
import standin_paths

MODEL_ENDINGS = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
MODEL_FOLDERS = ["checkpoints", "loras", "vae", "text_encoders", "diffusion_models", "controlnet", "upscale_models", "embeddings"]
# Names of before, which files of model paths still use.
OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
# With a base directory of one's own, ComfyUI dies without these (F24).
EXPECTED = ["custom_nodes", "models", "input", "output", "temp", "user"]

HERE = os.path.dirname(os.path.realpath(__file__))
base_path = HERE
_areas = {}
_model_folders = {}
_pack_folders = []


def set_up(args):
    """Fixes every folder by the command line. Raises FileNotFoundError where one must be there."""
    global base_path
    base_path = os.path.abspath(args.base_directory) if args.base_directory else HERE
    for name in ["input", "output", "temp", "user"]:
        given = getattr(args, f"{name}_directory")
        # As ComfyUI has it: the flag names the folder that `temp` lies in.
        path = os.path.join(given, "temp") if name == "temp" and given else given
        _areas[name] = os.path.abspath(path or os.path.join(base_path, name))
    if args.base_directory:
        for name in EXPECTED:
            if name == "temp" and args.temp_directory:
                continue
            os.listdir(_areas.get(name, os.path.join(base_path, name)))
    else:
        for name in ["temp", "user"]:
            os.makedirs(_areas[name], exist_ok=True)
    os.makedirs(_areas["temp"], exist_ok=True)
    _pack_folders.append(os.path.join(base_path, "custom_nodes"))
    for folder in MODEL_FOLDERS:
        _model_folders[folder] = [os.path.join(base_path, "models", folder)]
    beside = os.path.join(HERE, "extra_model_paths.yaml")
    files = [beside] if os.path.isfile(beside) else []
    for group in args.extra_model_paths_config or []:
        files.extend(group)
    for file in files:
        _add_model_paths(file)


def _add_model_paths(file):
    with open(file, encoding="utf-8") as stream:
        entries = standin_paths.load(stream.read())
    for entry in (entries or {}).values():
        if not isinstance(entry, dict):
            continue
        root = os.path.expanduser(os.path.expandvars(entry.get("base_path", "")))
        if not os.path.isabs(root):
            root = os.path.abspath(os.path.join(os.path.dirname(file), root))
        is_default = entry.get("is_default") is True
        for folder, paths in entry.items():
            if folder in ("base_path", "is_default"):
                continue
            for path in str(paths).split("\n"):
                if path.strip() != "":
                    _add_model_path(folder, os.path.normpath(os.path.join(root, path.strip())), is_default)


def _add_model_path(folder, path, is_default):
    print(f"Adding extra search path {folder} {path}", flush=True)
    known = _pack_folders if folder == "custom_nodes" else _model_folders.setdefault(OLD_NAMES.get(folder, folder), [])
    if path in known:
        return
    if is_default:
        known.insert(0, path)
    else:
        known.append(path)


def pack_folders():
    return list(_pack_folders)


def model_folders():
    return {name: list(paths) for name, paths in _model_folders.items()}


def get_directory(area):
    """`input`, `output`, `temp` or `user`; None for anything else."""
    return _areas.get(area)


def get_input_directory():
    return _areas["input"]


def get_output_directory():
    return _areas["output"]


def get_temp_directory():
    return _areas["temp"]


def get_user_directory():
    return _areas["user"]


def _files_below(root, endings):
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name != ".git"]
        for name in files:
            if endings is None or os.path.splitext(name)[1].lower() in endings:
                yield os.path.relpath(os.path.join(folder, name), root)


def get_filename_list(folder):
    names = set()
    for root in _model_folders.get(folder, []):
        names.update(_files_below(root, MODEL_ENDINGS))
    return sorted(names)


def get_full_path(folder, name):
    """The file, in the first folder that has it; None. A name that leads outside finds nothing there."""
    name = os.path.relpath(os.path.join("/", name), "/")
    for root in _model_folders.get(folder, []):
        path = os.path.join(root, name)
        if os.path.isfile(path):
            return path
    return None


def input_files(ending=None):
    """Names at the top of the input folder."""
    root = get_input_directory()
    names = sorted(name for name in os.listdir(root) if os.path.isfile(os.path.join(root, name)))
    return [name for name in names if ending is None or name.endswith(ending)]


def split_annotation(name):
    """`a.png [temp]` → (`a.png`, the folder of `temp`); without a mark the area is None."""
    for area in ["output", "input", "temp"]:
        if name.endswith(f"[{area}]"):
            return name[: -len(area) - 2].rstrip(), area
    return name, None


def annotated_path(name):
    name, area = split_annotation(name)
    return os.path.join(get_directory(area or "input"), name)


def is_inside(root, path):
    root, path = os.path.abspath(root), os.path.abspath(path)
    return path == root or path.startswith(root + os.sep)


def save_place(prefix, area):
    """Where a save node writes: (folder, name, next number, subfolder). Raises where it leads outside."""
    root = get_directory(area)
    subfolder, name = os.path.split(os.path.normpath(prefix))
    folder = os.path.join(root, subfolder)
    if not is_inside(root, folder):
        raise Exception(f"**** ERROR: Saving image outside the output folder is not allowed.\n full_output_folder: {folder}")
    os.makedirs(folder, exist_ok=True)
    number = 0
    for file in os.listdir(folder):
        rest = file[len(name) + 1 :].split("_")[0].split(".")[0]
        if file.startswith(name + "_") and rest.isdigit():
            number = max(number, int(rest))
    return folder, name, number + 1, subfolder
