"""The queue, the history, and the one thread that runs prompts."""

import heapq
import threading
import time
import traceback

import faults
import interruption
import nodes
from pictures import digest

MAX_HISTORY = 10000
# Taken out of what the history keeps; the queue shows them (F28).
SECRETS = ["api_key_comfy_org", "auth_token_comfy_org"]
OUT_OF_MEMORY_TIPS = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have "
    "accidentally set the batch_size to a large number."
)


class Queue:
    """Prompts that wait, the one that runs, and those that ended. Safe to use from any thread."""

    def __init__(self, on_change):
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._on_change = on_change
        self._pending = []
        self._running = []
        self._history = {}
        self._flags = {}

    def put(self, item):
        # A heap that compares two graphs raises only after it took the second one in (F27).
        with self._lock:
            try:
                heapq.heappush(self._pending, item)
            finally:
                self._changed.notify_all()
        self._on_change()

    def take(self, timeout):
        """The next prompt, which runs from now on; None when there was none in time, or flags were set."""
        with self._lock:
            if not self._pending and not self._flags:
                self._changed.wait(timeout)
            if not self._pending:
                return None
            item = heapq.heappop(self._pending)
            self._running.append(item)
        self._on_change()
        return item

    def finish(self, item, entry):
        with self._lock:
            self._running.remove(item)
            while len(self._history) >= MAX_HISTORY:
                self._history.pop(next(iter(self._history)))
            self._history[item[1]] = entry
        self._on_change()

    def remaining(self):
        with self._lock:
            return len(self._pending) + len(self._running)

    def shown(self):
        with self._lock:
            return {"queue_running": list(self._running), "queue_pending": list(self._pending)}

    def delete(self, prompt_id):
        with self._lock:
            before = len(self._pending)
            self._pending = [item for item in self._pending if item[1] != prompt_id]
            heapq.heapify(self._pending)
            is_gone = len(self._pending) < before
        if is_gone:
            self._on_change()

    def clear(self):
        with self._lock:
            self._pending = []
        self._on_change()

    def is_running(self, prompt_id):
        with self._lock:
            return any(item[1] == prompt_id for item in self._running)

    def set_flags(self, flags):
        with self._lock:
            self._flags.update(flags)
            self._changed.notify_all()

    def take_flags(self):
        with self._lock:
            flags, self._flags = self._flags, {}
            return flags

    def entry(self, prompt_id):
        with self._lock:
            return {prompt_id: self._history[prompt_id]} if prompt_id in self._history else {}

    def page(self, max_items, offset):
        with self._lock:
            ids = list(self._history)
            if max_items is not None and max_items <= 0:
                return {}
            if offset < 0:
                offset = max(0, len(ids) - max_items) if max_items is not None else 0
            end = None if max_items is None else offset + max_items
            return {prompt_id: self._history[prompt_id] for prompt_id in ids[offset:end]}

    def forget(self, prompt_id=None):
        with self._lock:
            if prompt_id is None:
                self._history = {}
            else:
                self._history.pop(prompt_id, None)


class Cache:
    """Results by everything that went into them, kept while the prompt that runs has such a node (F15)."""

    def __init__(self):
        self.outputs, self.shown, self.objects = {}, {}, {}
        self._names = {}
        self._unique = 0

    def use(self, graph):
        self._names = {}
        for node_id in graph:
            self._name(graph, node_id)
        kept = set(self._names.values())
        self.outputs = {name: value for name, value in self.outputs.items() if name in kept}
        self.shown = {name: value for name, value in self.shown.items() if name in kept}
        alive = {(node_id, node["class_type"]) for node_id, node in graph.items()}
        self.objects = {key: value for key, value in self.objects.items() if key in alive}

    def of(self, node_id):
        return self._names[node_id]

    def _never(self):
        self._unique += 1
        return f"never:{self._unique}"

    def _name(self, graph, node_id):
        if node_id in self._names:
            return self._names[node_id]
        if node_id not in graph:
            return self._never()
        self._names[node_id] = self._never()  # Ends a circle beside the outputs.
        node = graph[node_id]
        changed = getattr(nodes.NODE_CLASS_MAPPINGS.get(node["class_type"]), "IS_CHANGED", None)
        parts = [node["class_type"]]
        if changed is not None:
            try:
                parts.append(changed(**{k: v for k, v in node["inputs"].items() if not is_link(v)}))
            except Exception:
                parts.append(self._never())
        for name, value in sorted(node["inputs"].items()):
            parts.append([name, [self._name(graph, value[0]), value[1]] if is_link(value) else ["=", value]])
        self._names[node_id] = digest(parts)
        return self._names[node_id]


def is_link(value):
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (int, float))


class Order:
    """Which node runs next: what the outputs need, a ready output first, then what is close to one."""

    def __init__(self, graph, is_cached, outputs):
        self._graph = graph
        self.pending, self._blocking = [], {}
        self._blockers = {}
        links, stack = [], list(reversed(outputs))
        while stack:
            node_id = stack.pop()
            if node_id in self._blockers:
                continue
            inputs = graph[node_id]["inputs"]  # A link to no node ends the worker (F26).
            self.pending.append(node_id)
            self._blockers[node_id], self._blocking[node_id] = 0, set()
            for value in inputs.values():
                if is_link(value) and not (value[0] in graph and is_cached(value[0])):
                    stack.append(value[0])
                    links.append((value[0], node_id))
        for source, node_id in links:
            if node_id not in self._blocking[source]:
                self._blocking[source].add(node_id)
                self._blockers[node_id] += 1

    def next(self):
        """The next node; None when those left wait for each other."""
        ready = [node_id for node_id in self.pending if self._blockers[node_id] == 0]
        for depth in range(3):
            for node_id in ready:
                if self._leads_to_output(node_id, depth):
                    return node_id
        return ready[0] if ready else None

    def _leads_to_output(self, node_id, depth):
        if depth > 0:
            return any(self._leads_to_output(after, depth - 1) for after in self._blocking.get(node_id, ()))
        return getattr(nodes.NODE_CLASS_MAPPINGS[self._graph[node_id]["class_type"]], "OUTPUT_NODE", False) is True

    def complete(self, node_id):
        self.pending.remove(node_id)
        for after in self._blocking.pop(node_id):
            self._blockers[after] -= 1


class Run:
    """One prompt, from `execution_start` to its history entry."""

    def __init__(self, item, cache, events):
        self.item, self.cache, self.events = item, cache, events
        _, self.prompt_id, self.graph, self.extra, self.outputs = item
        self.messages, self.executed, self.progress = [], [], {}
        # Outside of any `try`, as in ComfyUI: what holds nothing ends the worker (F26).
        self.client_id = self.extra["client_id"] if "client_id" in self.extra else None
        self.is_success = False

    def _say(self, kind, data, is_for_all=False):
        stamp = int(time.time() * 1000)
        if kind == "execution_cached":
            data = {**data, "prompt_id": self.prompt_id, "timestamp": stamp}
        else:
            data = {"prompt_id": self.prompt_id, **data, "timestamp": stamp}
        self.messages.append((kind, data))
        if self.client_id is not None or is_for_all:
            self.events.send(kind, data, self.client_id)

    def _send(self, kind, data):
        if self.client_id is not None:
            self.events.send(kind, {**data, "prompt_id": self.prompt_id}, self.client_id)

    def _tell_progress(self, node_id, value, most, state):
        self.progress[node_id] = {
            "value": value, "max": most, "state": state, "node_id": node_id, "prompt_id": self.prompt_id,
            "display_node_id": node_id, "parent_node_id": None, "real_node_id": node_id,
        }
        data = {"prompt_id": self.prompt_id, "nodes": {key: dict(each) for key, each in self.progress.items()}}
        self.events.send("progress_state", data, self.client_id)

    def run(self):
        faults.on_job()
        interruption.want(False)
        self.events.client_id, self.events.node = self.client_id, None
        self._say("execution_start", {})
        self.cache.use(self.graph)
        is_cached = lambda node_id: self.cache.of(node_id) in self.cache.outputs
        self._say("execution_cached", {"nodes": [node_id for node_id in self.graph if is_cached(node_id)]})
        order = Order(self.graph, is_cached, self.outputs)
        is_broken = False
        while order.pending and not is_broken:
            node_id = order.next()
            if node_id is None:
                self._say_circle(order.pending[0])
                is_broken = True
            elif self._run_node(node_id):
                order.complete(node_id)
            else:
                is_broken = True
        if not is_broken:
            self._say("execution_success", {})
        self.is_success = not is_broken
        self.events.node = None

    def _run_node(self, node_id):
        """True when it is done."""
        name = self.cache.of(node_id)
        if name in self.cache.outputs:
            shown = self.cache.shown.get(name)
            output = None if shown is None else shown["output"]
            self._send("executed", {"node": node_id, "display_node": node_id, "output": output})
            self._tell_progress(node_id, 1, 1, "finished")
            return True
        node = self.graph[node_id]
        inputs = {}
        try:
            self._tell_progress(node_id, 0.0, 1.0, "running")
            if self.client_id is not None:
                self.events.node = node_id
            self._send("executing", {"node": node_id, "display_node": node_id})
            interruption.look()
            inputs = self._resolve(node)
            outputs, shown = self._call(node_id, node, inputs)
        except interruption.Interrupted:
            about = {"node_id": node_id, "node_type": node["class_type"], "executed": list(self.executed)}
            self._say("execution_interrupted", about, is_for_all=True)
            return False
        except Exception as error:
            self._say("execution_error", self._describe(node_id, node, inputs, error))
            return False
        if shown is not None:
            meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            self.cache.shown[name] = {"meta": meta, "output": shown}
            self._send("executed", {"node": node_id, "display_node": node_id, "output": shown})
        self.cache.outputs[name] = outputs
        self._tell_progress(node_id, 1.0, 1.0, "finished")
        self.executed.append(node_id)
        return True

    def _resolve(self, node):
        inputs = {}
        for name, value in node["inputs"].items():
            inputs[name] = self.cache.outputs[self.cache.of(value[0])][value[1]] if is_link(value) else value
        return inputs

    def _call(self, node_id, node, inputs):
        """(outputs, what it shows or None)."""
        cls = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        declared = cls.INPUT_TYPES()
        known = {**declared.get("required", {}), **declared.get("optional", {})}
        given = {name: value for name, value in inputs.items() if name in known}
        hidden = {"PROMPT": self.graph, "EXTRA_PNGINFO": self.extra.get("extra_pnginfo"), "UNIQUE_ID": node_id}
        given.update({name: hidden[kind] for name, kind in declared.get("hidden", {}).items() if kind in hidden})
        key = (node_id, node["class_type"])
        if key not in self.cache.objects:
            self.cache.objects[key] = cls()

        def tell(value, most, picture):
            self._tell_progress(node_id, value, most, "running")
            data = {"value": value, "max": most, "prompt_id": self.prompt_id, "node": node_id}
            self.events.send("progress", data, self.client_id)
            if picture is not None:
                self.events.preview(picture, node_id, self.prompt_id, self.client_id)

        interruption.listen(tell)
        try:
            if getattr(cls, "OUTPUT_NODE", False) is True and not self.executed_output:
                interruption.wait(faults.seconds("job_seconds"), polls=True)
            result = getattr(self.cache.objects[key], cls.FUNCTION)(**given)
        finally:
            interruption.listen(None)
        if isinstance(result, dict):
            return tuple(result.get("result", ())), result.get("ui")
        return tuple(result), None

    @property
    def executed_output(self):
        """Whether an output node of this prompt ran: what a prompt takes at least, it takes once."""
        ran = (nodes.NODE_CLASS_MAPPINGS[self.graph[node_id]["class_type"]] for node_id in self.executed)
        return any(getattr(cls, "OUTPUT_NODE", False) is True for cls in ran)

    def _describe(self, node_id, node, inputs, error):
        cls = type(error)
        name = cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"
        tips = OUT_OF_MEMORY_TIPS if name == "torch.OutOfMemoryError" else ""
        return {
            "node_id": node_id,
            "node_type": node["class_type"],
            "executed": list(self.executed),
            "exception_message": f"{error}\n{tips}",
            "exception_type": name,
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {
                key: [value if isinstance(value, (str, int, float)) or value is None else str(value)]
                for key, value in inputs.items()
            },
            "current_outputs": list(self.graph),
        }

    def _say_circle(self, node_id):
        """Only links in undeclared inputs make one: validation does not follow those."""
        about = {
            "node_id": node_id, "node_type": self.graph[node_id]["class_type"], "executed": list(self.executed),
            "exception_message": "Dependency cycle detected", "exception_type": "graph.DependencyCycleError",
            "traceback": [], "current_inputs": [], "current_outputs": list(self.graph),
        }
        self._say("execution_error", about)

    def history(self):
        outputs, meta = {}, {}
        for node_id in self.graph:
            shown = self.cache.shown.get(self.cache.of(node_id))
            if shown is not None:
                outputs[node_id], meta[node_id] = shown["output"], shown["meta"]
        kept = {key: value for key, value in self.extra.items() if key not in SECRETS}
        return {
            "prompt": [*self.item[:3], kept, self.item[4]],
            "outputs": outputs,
            "status": {
                "status_str": "success" if self.is_success else "error",
                "completed": self.is_success,
                "messages": self.messages,
            },
            "meta": meta,
        }


class Worker:
    """Runs prompts one after the other. Whatever a node raises that is no Exception ends it, and nothing else (F26)."""

    def __init__(self, queue, events):
        self._queue, self._events = queue, events
        self._cache = Cache()
        self.prompts_run = 0
        self._thread = threading.Thread(target=self._loop, name="prompts", daemon=True)

    def start(self):
        self._thread.start()

    def is_alive(self):
        return self._thread.is_alive()

    def _loop(self):
        while True:
            item = self._queue.take(timeout=1.0)
            if item is not None:
                begun = time.perf_counter()
                run = Run(item, self._cache, self._events)
                run.run()
                self.prompts_run += 1
                self._queue.finish(item, run.history())
                if run.client_id is not None:
                    self._events.send("executing", {"node": None, "prompt_id": run.prompt_id}, run.client_id)
                print(f"Prompt executed in {time.perf_counter() - begun:.2f} seconds", flush=True)
            if self._queue.take_flags().get("free_memory"):
                self._cache = Cache()
