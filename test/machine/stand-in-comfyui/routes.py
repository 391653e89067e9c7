"""What each path answers: as recorded from ComfyUI 0.3.64, plus `/standin/…` for tests."""

import asyncio
import json
import os
import platform
import struct
import sys
import uuid

import comfyui_version
import faults
import files
import folder_paths
import interruption
import nodes
import pictures
import validation
from execution import Queue, Worker
from wire import Reply, json_reply, text_reply

FEATURES = {"supports_preview_metadata": True, "max_upload_size": 104857600}


def rss_bytes():
    """Memory that the process has now. Its peak would be its parent's: that is kept over exec."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Sockets:
    """Who is told what. The worker calls `send` and `preview` from its thread, the rest runs in the loop."""

    def __init__(self, loop, wants_previews):
        self._loop, self._wants_previews = loop, wants_previews
        self._by_id, self._named_previews = {}, set()
        # Of the prompt that runs: for a socket that comes back.
        self.client_id, self.node = None, None

    def send(self, kind, data, to=None):
        text = json.dumps({"type": kind, "data": data})
        self._loop.call_soon_threadsafe(self._deliver, text, to)

    def preview(self, picture, node_id, prompt_id, to):
        if not self._wants_previews:
            return
        image = picture.png()
        if to in self._named_previews:
            about = {
                "node_id": node_id, "prompt_id": prompt_id, "display_node_id": node_id, "parent_node_id": None,
                "real_node_id": node_id, "image_type": "image/png",
            }
            head = json.dumps(about).encode("utf-8")
            frame = struct.pack(">II", 4, len(head)) + head + image
        else:
            frame = struct.pack(">II", 1, 2) + image
        self._loop.call_soon_threadsafe(self._deliver, frame, to)

    def _deliver(self, frame, to):
        if faults.get("hang_http"):
            return
        targets = list(self._by_id.values()) if to is None else [self._by_id.get(to)]
        for socket in targets:
            if socket is not None:
                socket.send(frame)

    async def serve(self, socket, request, status):
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self._by_id[sid] = socket
        socket.send(json.dumps({"type": "status", "data": {**status(), "sid": sid}}))
        if self.client_id == sid and self.node is not None:
            socket.send(json.dumps({"type": "executing", "data": {"node": self.node}}))
        is_first = True
        async for message in socket.messages():
            try:
                said = json.loads(message)
            except ValueError:
                continue
            if is_first and isinstance(said, dict) and said.get("type") == "feature_flags":
                if (said.get("data") or {}).get("supports_preview_metadata"):
                    self._named_previews.add(sid)
                socket.send(json.dumps({"type": "feature_flags", "data": FEATURES}))
            is_first = False
        # Whoever is registered by now: a newer socket of the same id goes deaf (F8).
        self._by_id.pop(sid, None)
        self._named_previews.discard(sid)


class Routes:
    def __init__(self, loop, args):
        self._args = args
        self.sockets = Sockets(loop, args.preview_method != "none")
        self.queue = Queue(self._tell_queue)
        self.worker = Worker(self.queue, self.sockets)
        self._next_number = 0

    def _status(self):
        return {"status": {"exec_info": {"queue_remaining": self.queue.remaining()}}}

    def _tell_queue(self):
        self.sockets.send("status", self._status())

    async def on_socket(self, socket, request):
        await self.sockets.serve(socket, request, self._status)

    async def gate(self):
        while faults.get("hang_http"):
            await asyncio.sleep(0.05)

    def handle(self, request):
        """The answer. Raises where ComfyUI answers a bare 500."""
        if self._is_foreign(request.headers):
            return Reply(403)
        path = request.path
        is_internal = path.startswith(("/internal/", "/standin/"))
        if path.startswith("/api/"):
            path = path[4:]
            is_internal = path.startswith(("/internal/", "/standin/"))
            if is_internal:
                return self._nothing()
        if request.method == "OPTIONS":
            return Reply(200)
        method = "GET" if request.method == "HEAD" else request.method
        parts = path.strip("/").split("/", 2)
        # By the whole path, or by its first part with the rest as an argument.
        exact = self._exact().get("/" + "/".join(parts))
        if exact is not None:
            if method not in exact:
                return text_reply("405: Method Not Allowed", 405)
            return exact[method](request)
        for length in (2, 1):
            below = self._below().get("/".join(parts[:length]))
            rest = "/".join(parts[length:])
            if below is not None and rest != "" and method == "GET":
                return below(request, rest)
        return self._nothing()

    def _nothing(self):
        return Reply(404, headers={"Content-Type": "application/octet-stream"})

    def _exact(self):
        return {
            "/": {"GET": lambda _: text_reply("a stand-in for ComfyUI, for tests", 200)},
            "/system_stats": {"GET": self.system_stats},
            "/object_info": {"GET": lambda _: json_reply({n: nodes.describe(n) for n in nodes.NODE_CLASS_MAPPINGS})},
            "/prompt": {"GET": lambda _: json_reply({"exec_info": self._status()["status"]["exec_info"]}), "POST": self.post_prompt},
            "/queue": {"GET": lambda _: json_reply(self.queue.shown()), "POST": self.post_queue},
            "/history": {"GET": self.get_history, "POST": self.post_history},
            "/view": {"GET": files.view},
            "/upload/image": {"POST": files.upload},
            "/interrupt": {"POST": self.post_interrupt},
            "/free": {"POST": self.post_free},
            "/features": {"GET": lambda _: json_reply(FEATURES)},
            "/embeddings": {"GET": lambda _: json_reply([])},
            "/extensions": {"GET": lambda _: json_reply([])},
            "/models": {"GET": lambda _: json_reply(list(folder_paths.model_folders()))},
            "/experiment/models": {"GET": lambda _: json_reply([{"name": n, "folders": f} for n, f in folder_paths.model_folders().items()])},
            "/standin/env": {"GET": self.standin_env},
            "/standin/stats": {"GET": self.standin_stats},
        }

    def _below(self):
        return {
            "object_info": lambda _, name: json_reply({name: nodes.describe(name)} if name in nodes.NODE_CLASS_MAPPINGS else {}),
            "history": lambda _, prompt_id: json_reply(self.queue.entry(prompt_id)),
            "models": self.models_of,
            "experiment/models": self.model_sizes_of,
            "view_metadata": self.view_metadata,
        }

    def _is_foreign(self, headers):
        """A browser's page of another place, on loopback."""
        host, origin = headers.get("host"), headers.get("origin")
        if host is None or origin is None:
            return False
        is_loopback = host.split(":")[0] in ("localhost", "127.0.0.1", "[")
        return is_loopback and origin.split("//")[-1] != host

    def system_stats(self, _):
        about = {}
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                name, _, rest = line.partition(":")
                about[name] = int(rest.split()[0]) * 1024
        total, free = about["MemTotal"], about["MemAvailable"]
        device = {"name": "cpu", "type": "cpu", "index": None, "total": total, "free": free}
        if not self._args.cpu:
            gib = 1024**3
            device = {"name": "cuda:0 Stand-in card : native", "type": "cuda", "index": 0, "total": 24 * gib, "free": 23 * gib}
        return json_reply({
            "system": {
                "os": os.name,
                "ram_total": total,
                "ram_free": free,
                "comfyui_version": comfyui_version.__version__,
                "required_frontend_version": "1.27.10",
                "installed_templates_version": None,
                "required_templates_version": None,
                "python_version": sys.version.replace("\n", " "),
                "pytorch_version": "none (stand-in)",
                "embedded_python": False,
                "argv": sys.argv,
            },
            "devices": [{
                "name": device["name"], "type": device["type"], "index": device["index"],
                "vram_total": device["total"], "vram_free": device["free"],
                "torch_vram_total": device["total"], "torch_vram_free": device["free"],
            }],
        })

    def post_prompt(self, request):
        body = request.json()
        if "number" in body:
            number = float(body["number"])
        else:
            number = self._next_number
            self._next_number += 1
            if "front" in body and body["front"]:
                number = -number
        if "prompt" not in body:
            error = validation.failure("no_prompt", "No prompt provided", "No prompt provided")
            return json_reply({"error": error, "node_errors": {}}, 400)
        graph = body["prompt"]
        prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        error, outputs, node_errors = validation.validate(graph, body.get("partial_execution_targets"))
        if error is not None:
            return json_reply({"error": error, "node_errors": node_errors}, 400)
        extra = body.get("extra_data", {})
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        self.queue.put((number, prompt_id, graph, extra, outputs))
        return json_reply({"prompt_id": prompt_id, "number": number, "node_errors": node_errors})

    def post_queue(self, request):
        body = request.json()
        if body.get("clear"):
            self.queue.clear()
        for prompt_id in body.get("delete") or []:
            self.queue.delete(prompt_id)
        return Reply()

    def get_history(self, request):
        most, offset = request.query.get("max_items"), request.query.get("offset")
        return json_reply(self.queue.page(None if most is None else int(most), -1 if offset is None else int(offset)))

    def post_history(self, request):
        body = request.json()
        if body.get("clear"):
            self.queue.forget()
        for prompt_id in body.get("delete") or []:
            self.queue.forget(prompt_id)
        return Reply()

    def post_interrupt(self, request):
        try:
            prompt_id = request.json().get("prompt_id")
        except ValueError:
            prompt_id = None
        if not prompt_id or self.queue.is_running(prompt_id):
            interruption.want()
        return Reply()

    def post_free(self, request):
        body = request.json()
        self.queue.set_flags({name: True for name in ("unload_models", "free_memory") if body.get(name)})
        return Reply()

    def models_of(self, _, folder):
        if folder not in folder_paths.model_folders():
            return Reply(404)
        return json_reply(folder_paths.get_filename_list(folder))

    def model_sizes_of(self, _, folder):
        roots = folder_paths.model_folders().get(folder)
        if roots is None:
            return Reply(404)
        found = []
        for name in folder_paths.get_filename_list(folder):
            path = folder_paths.get_full_path(folder, name)
            about = os.stat(path)
            index = next(i for i, root in enumerate(roots) if folder_paths.is_inside(root, path))
            found.append({"name": name, "pathIndex": index, "modified": about.st_mtime, "created": about.st_ctime, "size": about.st_size})
        return json_reply(found)

    def view_metadata(self, request, folder):
        name = request.query.get("filename", "")
        path = folder_paths.get_full_path(folder, name) if name.endswith(".safetensors") else None
        header = None if path is None else pictures.read_header(path)
        if header is None or "__metadata__" not in header:
            return Reply(404)
        return json_reply(header["__metadata__"])

    def standin_env(self, _):
        """All of what the process was started with: that nothing leaks into it is a test's business."""
        return json_reply({
            "pid": os.getpid(),
            "cwd": os.getcwd(),
            "argv": sys.argv,
            "executable": sys.executable,
            "python": platform.python_version(),
            "env": dict(os.environ),
            "niceness": os.nice(0),
        })

    def standin_stats(self, _):
        return json_reply({
            "pid": os.getpid(),
            "prompts_run": self.worker.prompts_run,
            "is_worker_alive": self.worker.is_alive(),
            "leaked_bytes": faults.leaked_bytes(),
            "rss_bytes": rss_bytes(),
        })
