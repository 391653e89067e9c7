"""The command line: ComfyUI's flags by name (0.3.64); most are taken and do nothing."""

import argparse
import os


def valid_directory(path):
    if not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{path} is not a valid directory.")
    return path


# Flags that say nothing to a stand-in.
SWITCHES = """
auto-launch disable-auto-launch cuda-malloc disable-cuda-malloc force-fp32 force-fp16 fp32-unet fp64-unet bf16-unet
fp16-unet fp8_e4m3fn-unet fp8_e5m2-unet fp8_e8m0fnu-unet fp16-vae fp32-vae bf16-vae cpu-vae fp8_e4m3fn-text-enc
fp8_e5m2-text-enc fp16-text-enc fp32-text-enc bf16-text-enc force-channels-last disable-ipex-optimize
supports-fp8-compute cache-classic cache-none use-split-cross-attention use-quad-cross-attention
use-pytorch-cross-attention use-sage-attention use-flash-attention disable-xformers force-upcast-attention
dont-upcast-attention gpu-only highvram normalvram lowvram novram cpu async-offload force-non-blocking
disable-smart-memory deterministic mmap-torch-files disable-mmap dont-print-server quick-test-for-ci
windows-standalone-build disable-metadata disable-all-custom-nodes disable-api-nodes multi-user log-stdout
enable-compress-response-body
""".split()

PREVIEW_METHODS = ["none", "auto", "latent2rgb", "taesd"]


def parse(argv=None):
    """The parsed flags. Like argparse: an unknown flag or a wrong value ends the process with 2."""
    parser = argparse.ArgumentParser(prog="main.py")
    parser.add_argument("--listen", type=str, default="127.0.0.1", metavar="IP", nargs="?", const="0.0.0.0,::")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--tls-keyfile", type=str)
    parser.add_argument("--tls-certfile", type=str)
    parser.add_argument("--enable-cors-header", type=str, default=None, metavar="ORIGIN", nargs="?", const="*")
    parser.add_argument("--max-upload-size", type=float, default=100)
    for name in ["base", "output", "temp", "input"]:
        parser.add_argument(f"--{name}-directory", type=str, default=None)
    parser.add_argument("--user-directory", type=valid_directory, default=None)
    parser.add_argument("--extra-model-paths-config", type=str, metavar="PATH", nargs="+", action="append")
    parser.add_argument("--cuda-device", type=str, default=None)
    parser.add_argument("--default-device", type=int, default=None)
    parser.add_argument("--directml", type=int, nargs="?", const=-1)
    parser.add_argument("--oneapi-device-selector", type=str, default=None)
    parser.add_argument("--preview-method", choices=PREVIEW_METHODS, default="none")
    parser.add_argument("--preview-size", type=int, default=512)
    parser.add_argument("--cache-lru", type=int, default=0)
    parser.add_argument("--reserve-vram", type=float, default=None)
    parser.add_argument("--default-hashing-function", choices=["md5", "sha1", "sha256", "sha512"], default="sha256")
    parser.add_argument("--fast", nargs="*")
    parser.add_argument("--whitelist-custom-nodes", type=str, nargs="+", default=[])
    parser.add_argument("--front-end-version", type=str, default=None)
    parser.add_argument("--front-end-root", type=valid_directory, default=None)
    parser.add_argument("--database-url", type=str, default=None)
    parser.add_argument("--comfy-api-base", type=str, default=None)
    parser.add_argument("--verbose", default="INFO", const="DEBUG", nargs="?")
    for switch in SWITCHES:
        parser.add_argument(f"--{switch}", action="store_true")
    return parser.parse_args(argv)
