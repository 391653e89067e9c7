"""The node classes that simple graphs need, and a few that fail on purpose. Declarations as ComfyUI 0.3.64 shows them."""

import hashlib
import json
import os
import random
import signal
import string
import sys

import faults
import folder_paths
import interruption
from pictures import Latent, Picture, digest, latents_from_file, latents_to_bytes, picture_of_file

SAMPLERS = ["euler", "euler_ancestral", "heun", "dpm_2", "lms", "dpmpp_2m", "dpmpp_sde", "ddim", "uni_pc"]
SCHEDULERS = ["simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal"]
HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


class CheckpointLoaderSimple:
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "loaders"

    @classmethod
    def INPUT_TYPES(cls):
        names = folder_paths.get_filename_list("checkpoints")
        return {"required": {"ckpt_name": (names, {"tooltip": "The name of the checkpoint (model) to load."})}}

    def load(self, ckpt_name):
        path = folder_paths.get_full_path("checkpoints", ckpt_name)
        if path is None:
            raise FileNotFoundError(f"Model in folder 'checkpoints' with filename '{ckpt_name}' not found.")
        # A model is its file: another one under the same name gives other pictures.
        with open(path, "rb") as stream:
            key = hashlib.sha256(stream.read(1 << 20)).hexdigest() + str(os.path.getsize(path))
        return (("model", key), ("clip", key), ("vae", key))


class CLIPTextEncode:
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"
    CATEGORY = "conditioning"

    @classmethod
    def INPUT_TYPES(cls):
        text = ("STRING", {"multiline": True, "dynamicPrompts": True, "tooltip": "The text to be encoded."})
        clip = ("CLIP", {"tooltip": "The CLIP model used for encoding the text."})
        return {"required": {"text": text, "clip": clip}}

    def encode(self, text, clip):
        return (digest("conditioning", clip, text),)


class EmptyLatentImage:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"
    CATEGORY = "latent"

    @classmethod
    def INPUT_TYPES(cls):
        side = {"default": 512, "min": 16, "max": 16384, "step": 8}
        return {
            "required": {
                "width": ("INT", {**side, "tooltip": "The width of the latent images in pixels."}),
                "height": ("INT", {**side, "tooltip": "The height of the latent images in pixels."}),
                "batch_size": (
                    "INT",
                    {"default": 1, "min": 1, "max": 4096, "tooltip": "The number of latent images in the batch."},
                ),
            }
        }

    def generate(self, width, height, batch_size):
        return ([Latent(width, height, digest("empty", index)) for index in range(batch_size)],)


class KSampler:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"
    CATEGORY = "sampling"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model used for denoising the input latent."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}),
                "steps": ("INT", {"default": 20, "min": 1, "max": 10000}),
                "cfg": ("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}),
                "sampler_name": (SAMPLERS, {}),
                "scheduler": (SCHEDULERS, {}),
                "positive": ("CONDITIONING", {}),
                "negative": ("CONDITIONING", {}),
                "latent_image": ("LATENT", {}),
                "denoise": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    def sample(self, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=1.0):
        how = [model, seed, steps, cfg, sampler_name, scheduler, positive, negative, denoise]
        done = [
            Latent(one.width, one.height, digest(how, one.key, index)) for index, one in enumerate(latent_image)
        ]
        for step in range(1, steps + 1):
            interruption.wait(faults.seconds("step_seconds"), polls=True)
            interruption.progress(step, steps, Picture(8, 8, key=f"{done[0].key}:{step}"))
        return (done,)


class VAEDecode:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"
    CATEGORY = "latent"

    @classmethod
    def INPUT_TYPES(cls):
        samples = ("LATENT", {"tooltip": "The latent to be decoded."})
        vae = ("VAE", {"tooltip": "The VAE model used for decoding the latent."})
        return {"required": {"samples": samples, "vae": vae}}

    def decode(self, samples, vae):
        return ([Picture(one.width, one.height, key=digest("decoded", vae, one.key)) for one in samples],)


class LatentFromBatch:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "take"
    CATEGORY = "latent/batch"

    @classmethod
    def INPUT_TYPES(cls):
        index = ("INT", {"default": 0, "min": 0, "max": 63})
        length = ("INT", {"default": 1, "min": 1, "max": 64})
        return {"required": {"samples": ("LATENT",), "batch_index": index, "length": length}}

    def take(self, samples, batch_index, length):
        first = min(len(samples) - 1, batch_index)
        return (samples[first : first + length],)


class EmptyImage:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls):
        side = {"default": 512, "min": 1, "max": 16384, "step": 1}
        return {
            "required": {
                "width": ("INT", dict(side)),
                "height": ("INT", dict(side)),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
            }
        }

    def generate(self, width, height, batch_size=1, color=0):
        return ([Picture(width, height, color=color) for _ in range(batch_size)],)


class LoadImage:
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": (folder_paths.input_files(), {"image_upload": True})}}

    @classmethod
    def IS_CHANGED(cls, image):
        with open(folder_paths.annotated_path(image), "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, image):
        if not os.path.isfile(folder_paths.annotated_path(image)):
            return f"Invalid image file: {image}"
        return True

    def load_image(self, image):
        picture = picture_of_file(folder_paths.annotated_path(image))
        return ([picture], ("mask", picture.key))


class ImageInvert:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image):
        return ([picture.inverted() for picture in image],)


def _texts(prompt, extra_pnginfo):
    texts = [] if prompt is None else [("prompt", json.dumps(prompt))]
    return texts + [(name, json.dumps(value)) for name, value in (extra_pnginfo or {}).items()]


class SaveImage:
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    CATEGORY = "image"
    OUTPUT_NODE = True
    DESCRIPTION = "Saves the input images to your ComfyUI output directory."
    AREA = "output"

    @classmethod
    def INPUT_TYPES(cls):
        images = ("IMAGE", {"tooltip": "The images to save."})
        prefix = ("STRING", {"default": "ComfyUI", "tooltip": "The prefix for the file to save."})
        return {"required": {"images": images, "filename_prefix": prefix}, "hidden": dict(HIDDEN)}

    def save_images(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None):
        folder, name, number, subfolder = folder_paths.save_place(filename_prefix, self.AREA)
        saved = []
        for index, picture in enumerate(images):
            file = f"{name.replace('%batch_num%', str(index))}_{number + index:05}_.png"
            with open(os.path.join(folder, file), "wb") as stream:
                stream.write(picture.png(_texts(prompt, extra_pnginfo)))
            saved.append({"filename": file, "subfolder": subfolder, "type": self.AREA})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    AREA = "temp"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}, "hidden": dict(HIDDEN)}

    def __init__(self):
        self.suffix = "".join(random.choice(string.ascii_lowercase) for _ in range(5))

    def save_images(self, images, prompt=None, extra_pnginfo=None):
        return super().save_images(images, f"ComfyUI_temp_{self.suffix}", prompt, extra_pnginfo)


class SaveLatent:
    RETURN_TYPES = ()
    FUNCTION = "save"
    CATEGORY = "_for_testing"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        prefix = ("STRING", {"default": "latents/ComfyUI"})
        return {"required": {"samples": ("LATENT",), "filename_prefix": prefix}, "hidden": dict(HIDDEN)}

    def save(self, samples, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None):
        folder, name, number, subfolder = folder_paths.save_place(filename_prefix, "output")
        file = f"{name}_{number:05}_.latent"
        with open(os.path.join(folder, file), "wb") as stream:
            stream.write(latents_to_bytes(samples, dict(_texts(prompt, extra_pnginfo))))
        return {"ui": {"latents": [{"filename": file, "subfolder": subfolder, "type": "output"}]}}


class LoadLatent:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "load"
    CATEGORY = "_for_testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": (folder_paths.input_files(".latent"),)}}

    @classmethod
    def IS_CHANGED(cls, latent):
        with open(folder_paths.annotated_path(latent), "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, latent):
        if not os.path.isfile(folder_paths.annotated_path(latent)):
            return f"Invalid latent file: {latent}"
        return True

    def load(self, latent):
        return (latents_from_file(folder_paths.annotated_path(latent)),)


class _Fault:
    """A picture in, the same picture out, and something happens meanwhile."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "stand-in"
    MORE = {}

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), **cls.MORE}}


class StandInSleep(_Fault):
    MORE = {
        "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 36000.0}),
        "poll": ("BOOLEAN", {"default": True}),
    }

    def run(self, image, seconds, poll):
        interruption.wait(seconds, polls=poll)
        return (image,)


class OutOfMemoryError(RuntimeError):
    """Takes torch's name, by which ComfyUI knows that memory ran out."""


OutOfMemoryError.__module__ = "torch"


class StandInRaise(_Fault):
    KINDS = {"runtime": RuntimeError, "value": ValueError, "filenotfound": FileNotFoundError, "other": Exception}
    MORE = {
        "kind": (["oom", "enospc", "runtime", "value", "filenotfound", "other"],),
        "message": ("STRING", {"default": ""}),
    }

    def run(self, image, kind, message):
        if kind == "oom":
            raise OutOfMemoryError(message or "CUDA out of memory. Tried to allocate 2.00 GiB.")
        if kind == "enospc":
            raise OSError(28, "No space left on device")
        raise self.KINDS[kind](message)


class StandInExit(_Fault):
    """Ends the thread that runs prompts (F26)."""

    def run(self, image):
        sys.exit(1)


class StandInCrash(_Fault):
    """Ends the process, by signal 9 or without a word."""

    MORE = {"how": (["kill", "exit"], {"default": "kill"})}

    def run(self, image, how):
        faults.leave(-signal.SIGKILL if how == "kill" else 1)


class StandInHang(_Fault):
    """Never ends; with `poll` an interrupt ends it."""

    MORE = {"poll": ("BOOLEAN", {"default": False})}

    def run(self, image, poll):
        while True:
            interruption.wait(1, polls=poll)


NODE_CLASS_MAPPINGS = {
    cls.__name__: cls
    for cls in [
        KSampler, CheckpointLoaderSimple, CLIPTextEncode, VAEDecode, EmptyImage, EmptyLatentImage, LatentFromBatch,
        SaveImage, PreviewImage, LoadImage, ImageInvert, LoadLatent, SaveLatent,
        StandInSleep, StandInRaise, StandInExit, StandInCrash, StandInHang,
    ]
}
# Under the names of Holdfast's fault nodes, so that suites written for those run here too.
NODE_CLASS_MAPPINGS.update(HoldfastSleep=StandInSleep, HoldfastRaise=StandInRaise, HoldfastExit=StandInExit)
NODE_DISPLAY_NAME_MAPPINGS = {
    "CheckpointLoaderSimple": "Load Checkpoint",
    "CLIPTextEncode": "CLIP Text Encode (Prompt)",
    "EmptyLatentImage": "Empty Latent Image",
    "VAEDecode": "VAE Decode",
    "SaveImage": "Save Image",
    "PreviewImage": "Preview Image",
    "LoadImage": "Load Image",
    "ImageInvert": "Invert Image",
    "LatentFromBatch": "Latent From Batch",
}
# By class: the module that brought it, as /object_info shows it.
MODULES = {name: "nodes" for name in NODE_CLASS_MAPPINGS}


def describe(name):
    """A class as /object_info shows it."""
    cls = NODE_CLASS_MAPPINGS[name]
    inputs = cls.INPUT_TYPES()
    outputs = list(cls.RETURN_TYPES)
    about = {
        "input": inputs,
        "input_order": {group: list(specs) for group, specs in inputs.items()},
        "output": outputs,
        "output_is_list": list(getattr(cls, "OUTPUT_IS_LIST", [False] * len(outputs))),
        "output_name": list(getattr(cls, "RETURN_NAMES", outputs)),
        "name": name,
        "display_name": NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "description": getattr(cls, "DESCRIPTION", ""),
        "python_module": MODULES.get(name, "nodes"),
        "category": getattr(cls, "CATEGORY", "sd"),
        "output_node": getattr(cls, "OUTPUT_NODE", False) is True,
    }
    return about
