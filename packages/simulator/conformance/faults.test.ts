import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  startSimulator,
  type FaultRule,
  type Simulator,
  type SimulatorOptions,
} from "../src/index.ts";
import { decodePng } from "../src/pixels/png.ts";
import {
  ask,
  flatGraph,
  run,
  socketOf,
  untilEnded,
  viewPath,
  type HistoryJson,
  type PostedJson,
  type Target,
} from "./target.ts";

const GIB = 1024 ** 3;

function withNode(classType: string, inputs: Readonly<Record<string, unknown>> = {}): PostedJson {
  return {
    ...flatGraph(1, `fault-${randomUUID()}`),
    "2": { class_type: "PreviewImage", inputs: { images: ["9", 0] } },
    "9": { class_type: classType, inputs: { image: ["1", 0], ...inputs } },
  };
}

function lastMessage(entry: HistoryJson): readonly [string, Readonly<Record<string, unknown>>] {
  const message = entry.status.messages.at(-1);
  if (message === undefined) throw new Error("no message");
  return message;
}

describe("faults on command", () => {
  let simulator: Simulator;
  let target: Target;

  const begin = async (options: Partial<SimulatorOptions> = {}): Promise<void> => {
    simulator = await startSimulator({
      clock: systemClock,
      timeScale: 0,
      restartDelayMs: 20,
      ...options,
    });
    target = { name: "simulator", url: simulator.url, stop: () => simulator.stop() };
  };
  const reborn = async (): Promise<void> => {
    for (;;) {
      try {
        await ask(target, "GET", "/prompt");
        return;
      } catch {
        // Refused: it is still down.
      }
    }
  };
  const post = (graph: PostedJson, extra: Readonly<Record<string, unknown>> = {}) =>
    ask(target, "POST", "/prompt", { prompt: graph, ...extra });

  beforeEach(() => begin());
  afterEach(() => simulator.stop());

  describe("on the socket", () => {
    it("drop_socket after two events: the peer is cut, the prompt goes on", async () => {
      simulator.faults.add({ kind: "drop_socket", afterEvents: 2 });
      const clientId = randomUUID();
      const socket = await socketOf(target, clientId);
      const entry = await run(target, flatGraph(1, "drop"), { client_id: clientId });
      await socket.untilClosed();
      expect(socket.types.filter((type) => type !== "status")).toHaveLength(2);
      expect(entry.status.status_str).toBe("success");
    });

    it("stall_socket: it stays open and says nothing more", async () => {
      const clientId = randomUUID();
      const socket = await socketOf(target, clientId);
      await socket.until(() => socket.frames.length > 0);
      simulator.faults.add({ kind: "stall_socket" });
      await run(target, flatGraph(2, "stall"), { client_id: clientId });
      expect([socket.isOpen, socket.frames.length]).toEqual([true, 1]);
      await socket.close();
    });

    it("lose_registration: the socket is deaf, a new one hears", async () => {
      const clientId = randomUUID();
      const deaf = await socketOf(target, clientId);
      await deaf.until(() => deaf.frames.length > 0);
      simulator.faults.add({ kind: "lose_registration" });
      await run(target, flatGraph(3, "lost"), { client_id: clientId });
      expect([deaf.isOpen, deaf.frames.length]).toEqual([true, 1]);
      await deaf.close();
      const fresh = await socketOf(target, clientId);
      await run(target, flatGraph(4, "found"), { client_id: clientId });
      await fresh.until(() => fresh.types.includes("execution_success"));
      await fresh.close();
    });
  });

  describe("on requests", () => {
    it("reset after acting: the caller sees a cut, the prompt runs", async () => {
      simulator.faults.add({
        kind: "reset",
        when: "after",
        match: { path: "/prompt", method: "POST" },
      });
      const promptId = randomUUID();
      await expect(post(flatGraph(1, "r"), { prompt_id: promptId })).rejects.toThrow(
        /fetch failed/,
      );
      expect((await untilEnded(target, promptId)).status.completed).toBe(true);
    });

    it("reset before acting: the prompt is not there", async () => {
      simulator.faults.add({ kind: "reset", match: { path: "/prompt", method: "POST" } });
      await expect(post(flatGraph(1, "r"), { prompt_id: "x" })).rejects.toThrow(/fetch failed/);
      expect((await ask(target, "GET", "/history/x")).json()).toEqual({});
      expect(simulator.stats().promptsRun).toBe(0);
    });

    it("http_error: so often, before or after acting", async () => {
      simulator.faults.add({
        kind: "http_error",
        status: 502,
        match: { path: "/history", count: 2 },
      });
      const statuses = [];
      for (let i = 0; i < 3; i += 1) statuses.push((await ask(target, "GET", "/history")).status);
      expect(statuses).toEqual([502, 502, 200]);
    });

    it("delay and gc_pause hold answers back", async () => {
      simulator.faults.add({ kind: "delay", ms: 60, match: { path: "/queue" } });
      const start = performance.now();
      await ask(target, "GET", "/queue");
      expect(performance.now() - start).toBeGreaterThanOrEqual(55);
      simulator.faults.add({ kind: "gc_pause", ms: 60 });
      const again = performance.now();
      await ask(target, "GET", "/prompt");
      expect(performance.now() - again).toBeGreaterThanOrEqual(50);
    });

    it("corrupt_file and delete_file: /view lies once, or has nothing", async () => {
      const entry = await run(target, flatGraph(1, "corrupt"));
      const file = entry.outputs["2"]?.images?.[0];
      if (file === undefined) throw new Error("no file");
      simulator.faults.add({ kind: "corrupt_file", how: "truncate" });
      const broken = await ask(target, "GET", viewPath(file));
      expect([broken.status, decodePng(broken.bytes)]).toEqual([200, null]);
      expect(decodePng((await ask(target, "GET", viewPath(file))).bytes)).not.toBeNull();
      simulator.faults.add({ kind: "delete_file" });
      expect((await ask(target, "GET", viewPath(file))).status).toBe(404);
    });

    it("a body over the limit is a 413, and nothing is queued", async () => {
      await simulator.stop();
      await begin({ maxBodyBytes: 2000 });
      const answer = await ask(
        target,
        "POST",
        "/prompt",
        JSON.stringify({ pad: "x".repeat(3000) }),
      );
      expect(answer.status).toBe(413);
    });
  });

  describe("in the process", () => {
    it("a crash cuts everything; afterwards only files are left, and numbers begin again", async () => {
      const root = mkdtempSync(path.join(tmpdir(), "holdfast-simulator-"));
      try {
        await simulator.stop();
        await begin({ dataDir: root });
        const entry = await run(target, flatGraph(1, "kept"), { prompt_id: "before" });
        const socket = await socketOf(target, "watcher");
        simulator.crash(20);
        await socket.untilClosed();
        await reborn();
        expect((await ask(target, "GET", "/history/before")).json()).toEqual({});
        const file = entry.outputs["2"]?.images?.[0];
        if (file === undefined) throw new Error("no file");
        expect((await ask(target, "GET", viewPath(file))).status).toBe(200);
        const next = await post(flatGraph(1, "kept"));
        expect(next.json<{ number: number }>().number).toBe(0);
        expect(simulator.stats().starts).toBe(2);
      } finally {
        rmSync(root, { recursive: true, force: true });
      }
    });

    it("a crash while a node runs loses the running prompt and the queue", async () => {
      simulator.faults.add({ kind: "crash", downMs: 20, match: { nodeClass: "SaveImage" } });
      const socket = await socketOf(target, "watcher");
      await post(flatGraph(1, "lost"), { client_id: "watcher" }).catch(() => undefined);
      await socket.untilClosed();
      await reborn();
      expect((await ask(target, "GET", "/queue")).json()).toEqual({
        queue_running: [],
        queue_pending: [],
      });
      expect((await run(target, flatGraph(1, "again"))).status.completed).toBe(true);
    });

    it("a crash for ever never comes back", async () => {
      simulator.crash(null);
      await expect(ask(target, "GET", "/prompt")).rejects.toThrow(/fetch failed/);
    });

    it("F26: after SystemExit it answers, and runs nothing", async () => {
      const promptId = randomUUID();
      await post(withNode("HoldfastExit"), { prompt_id: promptId });
      await post(flatGraph(2, "behind"));
      const queue = (await ask(target, "GET", "/queue")).json<Record<string, unknown[][]>>();
      expect(queue["queue_running"]?.map((item) => item[1])).toEqual([promptId]);
      expect(queue["queue_pending"]).toHaveLength(1);
      expect((await ask(target, "GET", "/system_stats")).status).toBe(200);
      expect((await ask(target, "POST", "/interrupt", {})).status).toBe(200);
      expect(simulator.stats().isZombie).toBe(true);
    });

    it("hang: the node makes no progress until it is interrupted", async () => {
      simulator.faults.add({ kind: "hang", polls: true, match: { nthPrompt: 1 } });
      const promptId = randomUUID();
      const socket = await socketOf(target, promptId);
      await post(flatGraph(1, "hang"), { prompt_id: promptId, client_id: promptId });
      await socket.until(() => socket.types.includes("executing"));
      await ask(target, "POST", "/interrupt", { prompt_id: promptId });
      const entry = await untilEnded(target, promptId);
      expect(lastMessage(entry)[0]).toBe("execution_interrupted");
      await socket.close();
    });

    it("raise and oom: as an execution error, in ComfyUI's words", async () => {
      simulator.faults.add({ kind: "raise", exceptionType: "ValueError", message: "bad" });
      const raised = lastMessage(await run(target, flatGraph(1, "raise")));
      expect(raised[1]).toMatchObject({ exception_type: "ValueError", exception_message: "bad\n" });
      simulator.faults.add({ kind: "oom" });
      const oom = lastMessage(await run(target, flatGraph(2, "oom")));
      expect(oom[1]["exception_type"]).toBe("torch.OutOfMemoryError");
    });

    it("its own numbers tell the nodes that ran, and not those that the cache had", async () => {
      const graph = flatGraph(1, "counted");
      await run(target, graph);
      await run(target, graph);
      await run(target, flatGraph(2, "counted"));
      expect(simulator.stats()).toMatchObject({ promptsRun: 3, nodesRun: { SaveImage: 2 } });
      expect(simulator.stats().outOfMemory).toBe(0);
    });

    it("disk_full: OSError 28 at the save, and the next one is saved", async () => {
      simulator.faults.add({ kind: "disk_full" });
      const failed = lastMessage(await run(target, flatGraph(1, "full")));
      expect(failed[1]).toMatchObject({
        node_type: "SaveImage",
        exception_type: "OSError",
        exception_message: "[Errno 28] No space left on device\n",
      });
      expect((await run(target, flatGraph(1, "full"))).status.completed).toBe(true);
    });

    it("leak and other_process take from the card; /free gives neither back", async () => {
      const rules: readonly FaultRule[] = [
        { kind: "other_process", bytes: 10 * GIB },
        { kind: "leak", bytes: 4 * GIB },
      ];
      for (const rule of rules) simulator.faults.add(rule);
      expect((await run(target, withNode("HoldfastOOM", { gib: 5 }))).status.completed).toBe(true);
      const failed = await run(target, withNode("HoldfastOOM", { gib: 15 }));
      expect(lastMessage(failed)[1]["exception_message"]).toContain("Process 4242 has 10.00 GiB");
      await ask(target, "POST", "/free", { unload_models: true, free_memory: true });
      const stats = (await ask(target, "GET", "/system_stats")).json<{
        devices: { vram_free: number }[];
      }>();
      expect(stats.devices[0]?.vram_free).toBeLessThan(10 * GIB);
    });

    it("a leak that the node cache holds comes back with /free", async () => {
      simulator.faults.add({ kind: "leak", bytes: 22 * GIB, heldBy: "cache" });
      const graph = withNode("HoldfastOOM", { gib: 5 });
      expect(lastMessage(await run(target, graph))[0]).toBe("execution_error");
      await ask(target, "POST", "/free", { unload_models: true, free_memory: false });
      expect(lastMessage(await run(target, graph))[0]).toBe("execution_error");
      await ask(target, "POST", "/free", { unload_models: true, free_memory: true });
      expect((await run(target, graph)).status.completed).toBe(true);
    });
  });

  describe("over HTTP", () => {
    it("rules are added, listed and removed; a wrong one is a 400 that says why", async () => {
      const added = await ask(target, "POST", "/simulator/faults", {
        kind: "oom",
        match: { nthPrompt: 3 },
      });
      expect(added.status).toBe(201);
      const list = (await ask(target, "GET", "/simulator/faults")).json<{ faults: unknown[] }>();
      expect(list.faults).toHaveLength(1);
      await ask(target, "DELETE", "/simulator/faults");
      expect(simulator.faults.list()).toEqual([]);
      const wrong = await ask(target, "POST", "/simulator/faults", { kind: "melt" });
      expect(wrong.status).toBe(400);
      expect(wrong.bytes.toString()).toContain("simulated fault: kind: expected one of");
    });

    it("every answer says simulated", async () => {
      for (const place of ["/", "/prompt", "/nowhere", "/view?filename=../x", "/api/queue"]) {
        const answer = await ask(target, "GET", place);
        expect(answer.headers.get("x-holdfast-simulated")).toBe("true");
      }
    });
  });

  const story = async (): Promise<readonly string[]> => {
    await simulator.stop();
    await begin({ seed: 7 });
    simulator.faults.add({ kind: "raise", match: { probability: 0.4, count: 0 } });
    const outcomes = [];
    for (let i = 0; i < 12; i += 1) {
      outcomes.push((await run(target, flatGraph(i, `story-${String(i)}`))).status.status_str);
    }
    return outcomes;
  };

  it("the same seed gives the same story", async () => {
    const first = await story();
    expect(await story()).toEqual(first);
    expect(new Set(first).size).toBe(2);
  });
});
