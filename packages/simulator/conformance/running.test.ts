import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ask,
  cachedNodes,
  flatGraph,
  REAL_URL,
  realTarget,
  run,
  socketOf,
  startSimulated,
  untilEnded,
  viewPath,
  type FileJson,
  type PostedJson,
  type Target,
} from "./target.ts";

interface QueueJson {
  readonly queue_running: readonly (readonly unknown[])[];
  readonly queue_pending: readonly (readonly unknown[])[];
}

function color(): number {
  return Math.floor(Math.random() * 0xffffff);
}

/**
 * What ComfyUI does while it runs, and when it dies: the same cases for the simulator and for a real
 * server. Those that end its process or its worker need a way to start it again
 * (HOLDFAST_TEST_COMFYUI_RESTART_COMMAND).
 */
function runningFacts(start: () => Promise<Target>): void {
  let target: Target;
  let sleeper: string | undefined;

  beforeAll(async () => {
    target = await start();
    const classes = (await ask(target, "GET", "/object_info")).json<Record<string, unknown>>();
    sleeper = ["HoldfastSleep", "FaultSleep"].find((name) => name in classes);
    if (sleeper === undefined) console.warn(`conformance: ${target.name} has no node that sleeps`);
    if (target.restart === undefined) {
      console.warn(`conformance: ${target.name} cannot be started again, what ends it is left out`);
    }
  });
  afterAll(async () => {
    await target.stop();
  });

  /** Node 2 saves at once; node 8 shows what the sleeping node 7 lets through. */
  const sleepGraph = (seconds: number, poll: boolean): PostedJson => ({
    ...flatGraph(color(), `running-${randomUUID()}`),
    "7": { class_type: sleeper ?? "", inputs: { image: ["1", 0], seconds, poll } },
    "8": { class_type: "PreviewImage", inputs: { images: ["7", 0] } },
  });
  const post = async (graph: PostedJson, extra: object = {}): Promise<string> => {
    const promptId = randomUUID();
    const body = { prompt: graph, prompt_id: promptId, ...extra };
    expect((await ask(target, "POST", "/prompt", body)).status).toBe(200);
    return promptId;
  };
  const queue = async (): Promise<QueueJson> => (await ask(target, "GET", "/queue")).json();
  const history = async (promptId: string): Promise<object> =>
    (await ask(target, "GET", `/history/${promptId}`)).json();
  const untilRunning = async (promptId: string): Promise<void> => {
    const deadline = performance.now() + 15_000;
    while (!(await queue()).queue_running.some((item) => item[1] === promptId)) {
      if (performance.now() > deadline) throw new Error(`prompt ${promptId} does not run`);
    }
  };
  const runsPrompts = async (): Promise<boolean> => {
    const promptId = await post(flatGraph(color(), "alive"));
    const deadline = performance.now() + 3_000;
    while (performance.now() < deadline) {
      if (Object.keys(await history(promptId)).length > 0) return true;
    }
    return false;
  };

  it("F13: a pending prompt that is deleted never runs, and leaves no trace", async (context) => {
    if (sleeper === undefined) context.skip();
    const held = await post(sleepGraph(20, true));
    const waiting = await post(flatGraph(color(), "f13"));
    await untilRunning(held);
    await ask(target, "POST", "/queue", { delete: [waiting] });
    expect((await queue()).queue_pending.map((item) => item[1])).not.toContain(waiting);
    await ask(target, "POST", "/interrupt", { prompt_id: held });
    await untilEnded(target, held);
    expect(await runsPrompts()).toBe(true);
    expect(await history(waiting)).toEqual({});
  });

  it("F13: a node that does not poll runs to its end, and is interrupted after it", async (context) => {
    if (sleeper === undefined) context.skip();
    const clientId = randomUUID();
    const socket = await socketOf(target, clientId);
    const promptId = await post(sleepGraph(1, false), { client_id: clientId });
    // Before this node runs, an interrupt ends the prompt at once.
    await socket.untilExecuting("7");
    // A real one tells of the node a moment before it looks at the flag for the last time.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const before = performance.now();
    await ask(target, "POST", "/interrupt", { prompt_id: promptId });
    const entry = await untilEnded(target, promptId);
    expect(performance.now() - before).toBeGreaterThan(500);
    expect(entry.status.status_str).toBe("error");
    expect(entry.status.messages.at(-1)).toMatchObject(["execution_interrupted", { node_id: "8" }]);
    await socket.close();
  });

  it("F14: /free answers at once, and is done when the running prompt has ended", async (context) => {
    if (sleeper === undefined) context.skip();
    const graph = sleepGraph(1, true);
    const promptId = await post(graph);
    await untilRunning(promptId);
    const before = performance.now();
    await ask(target, "POST", "/free", { unload_models: true, free_memory: true });
    expect(performance.now() - before).toBeLessThan(500);
    expect(await history(promptId)).toEqual({});
    expect((await untilEnded(target, promptId)).status.status_str).toBe("success");
    expect(cachedNodes(await run(target, graph))).toEqual([]);
  });

  it("F30: an output is named and served while its prompt still runs", async (context) => {
    if (sleeper === undefined) context.skip();
    const clientId = randomUUID();
    const socket = await socketOf(target, clientId);
    const promptId = await post(sleepGraph(20, true), { client_id: clientId });
    await socket.until(() => socket.types.includes("executed"));
    const frame = socket.frames.find(
      (each) => each.kind === "json" && each.json.type === "executed",
    );
    const data = frame?.kind === "json" ? frame.json.data : {};
    const [file] = (data["output"] as { readonly images: readonly FileJson[] }).images;
    if (file === undefined) throw new Error("no file");
    expect((await ask(target, "GET", viewPath(file))).status).toBe(200);
    expect(await history(promptId)).toEqual({});
    await ask(target, "POST", "/interrupt", { prompt_id: promptId });
    await untilEnded(target, promptId);
    await socket.close();
  });

  it("a circle of undeclared links ends in an error message, whatever the status says", async () => {
    const graph = flatGraph(color(), "circle");
    const source = { class_type: "EmptyImage", inputs: { ...graph["1"]?.inputs, more: ["2", 0] } };
    const entry = await run(target, { ...graph, "1": source });
    const last = entry.status.messages.at(-1);
    expect(last?.[0]).toBe("execution_error");
    expect(last?.[1]).toMatchObject({ exception_type: "graph.DependencyCycleError", node_id: "2" });
    expect(entry.outputs).toEqual({});
    expect(await runsPrompts()).toBe(true);
  });

  it("F12: a killed process closes its sockets with 1006, and forgets queue and history", async (context) => {
    if (target.restart === undefined) context.skip();
    const done = randomUUID();
    await run(target, flatGraph(color(), "f12"), { prompt_id: done });
    const socket = await socketOf(target, randomUUID());
    await target.restart?.();
    await socket.untilClosed();
    expect(socket.closeCode).toBe(1006);
    expect(await history(done)).toEqual({});
    expect(await queue()).toEqual({ queue_running: [], queue_pending: [] });
    const first = await ask(target, "POST", "/prompt", { prompt: flatGraph(color(), "f12") });
    expect(first.json()).toMatchObject({ number: 0 });
  });

  describe("F26: accepted, and the end of the thread that runs prompts", () => {
    const unfit: readonly (readonly [string, () => object])[] = [
      [
        "a node beside the outputs without inputs",
        () => ({ prompt: { ...flatGraph(1, "f26"), "9": { class_type: "EmptyImage" } } }),
      ],
      [
        "a node beside the outputs whose inputs are a list",
        () => ({
          prompt: { ...flatGraph(1, "f26"), "9": { class_type: "EmptyImage", inputs: [] } },
        }),
      ],
      [
        "an undeclared link to an absent node",
        () => {
          const graph = flatGraph(1, "f26");
          const inputs = { ...graph["1"]?.inputs, more: ["77", 0] };
          return { prompt: { ...graph, "1": { class_type: "EmptyImage", inputs } } };
        },
      ],
      ["extra data that is null", () => ({ prompt: flatGraph(1, "f26"), extra_data: null })],
    ];

    it.for(unfit)("%s", async ([_what, body], context) => {
      // Each costs a real one a restart.
      if (target.restart === undefined) context.skip();
      const promptId = randomUUID();
      const posted = await ask(target, "POST", "/prompt", { ...body(), prompt_id: promptId });
      expect(posted.status).toBe(200);
      expect(await runsPrompts()).toBe(false);
      expect((await ask(target, "GET", "/system_stats")).status).toBe(200);
      expect((await queue()).queue_running.map((item) => item[1])).toEqual([promptId]);
      expect(await history(promptId)).toEqual({});
      await target.restart?.();
      expect(await runsPrompts()).toBe(true);
    });

    it("a node that raises SystemExit: nothing changes any more, an interrupt neither", async (context) => {
      const info = await ask(target, "GET", "/object_info/HoldfastExit");
      if (target.restart === undefined || Object.keys(info.json<object>()).length === 0) {
        context.skip();
      }
      const graph = {
        ...flatGraph(color(), "f26"),
        "5": { class_type: "HoldfastExit", inputs: { image: ["1", 0] } },
        "6": { class_type: "PreviewImage", inputs: { images: ["5", 0] } },
      };
      const promptId = await post(graph);
      expect(await runsPrompts()).toBe(false);
      await ask(target, "POST", "/interrupt", { prompt_id: promptId });
      expect((await queue()).queue_running.map((item) => item[1])).toEqual([promptId]);
      expect((await queue()).queue_pending).toHaveLength(1);
      await target.restart?.();
    });
  });
}

describe("simulator", () => {
  runningFacts(startSimulated);
});

describe.skipIf(REAL_URL === undefined)("real ComfyUI", { timeout: 240_000 }, () => {
  runningFacts(() => Promise.resolve(realTarget()));
});
