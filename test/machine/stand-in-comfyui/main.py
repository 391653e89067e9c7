"""A stand-in for ComfyUI: a real process, a real server, small real files, no GPU and no models.

Written for Holdfast's tests from measured facts (F1–F30) and recorded exchanges, not from ComfyUI's source.
"""

import asyncio
import logging
import os
import shutil
import subprocess
import sys

import options

args = options.parse()
if args.cuda_device is not None:
    os.environ["CUDA_VISIBLE_DEVICES"] = args.cuda_device
logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")

import comfyui_version
import faults
import folder_paths
import packs


def demand_card():
    """Without `--cpu` torch wants a card, and ends the process where there is none."""
    if args.cpu:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        program = shutil.which("nvidia-smi")
        answer = None if program is None else subprocess.run([program, "-L"], stdout=subprocess.PIPE, timeout=10)
        if answer is None or answer.returncode != 0 or not answer.stdout.startswith(b"GPU "):
            raise RuntimeError(
                "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"
            )
    elif visible in ("", "-1"):
        raise RuntimeError("No CUDA GPUs are available")


async def watch_faults():
    while True:
        faults.look()
        await asyncio.sleep(faults.LOOK_EVERY_S)


async def serve():
    import routes
    import wire

    site = routes.Routes(asyncio.get_running_loop(), args)
    site.worker.start()
    server = wire.Server(site.handle, site.on_socket, site.gate, int(args.max_upload_size * 1024 * 1024))
    watching = asyncio.ensure_future(watch_faults())
    addresses = [address for address in args.listen.split(",") if address != ""]
    listening = await asyncio.start_server(server.serve, addresses, args.port, limit=wire.HEAD_MAX)
    logging.info("Starting server\n")
    for address in addresses:
        logging.info(f"To see the GUI go to: http://{address}:{args.port}")
    try:
        await listening.serve_forever()
    finally:
        watching.cancel()


def main():
    folder_paths.set_up(args)
    faults.set_up(args.port)
    demand_card()
    logging.info(f"Python version: {sys.version}")
    logging.info(f"ComfyUI version: {comfyui_version.__version__}")
    if not args.disable_all_custom_nodes:
        packs.load_all()
    if args.quick_test_for_ci:
        # 0 even when packs failed to import (F24).
        sys.exit(0)
    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        logging.info("\nStopped server")
    finally:
        shutil.rmtree(folder_paths.get_temp_directory(), ignore_errors=True)
    # The worker may be in the middle of a node: what it does ends with the process.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
