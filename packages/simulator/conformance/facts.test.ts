import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ask,
  cachedNodes,
  CHECKPOINT,
  flatGraph,
  lackOfCheckpoint,
  REAL_URL,
  realTarget,
  run,
  socketOf,
  startSimulated,
  untilEnded,
  viewPath,
  type FileJson,
  type HistoryJson,
  type PostedJson,
  type Target,
} from "./target.ts";

function color(): number {
  return Math.floor(Math.random() * 0xffffff);
}

function fileOf(entry: HistoryJson): FileJson {
  const file = entry.outputs["2"]?.images?.[0];
  if (file === undefined) throw new Error("no output");
  return file;
}

/**
 * What ComfyUI does, as cases that need no model: the same ones for the simulator and for a real
 * server (HOLDFAST_TEST_COMFYUI_URL). A case that needs a node which sleeps or raises is left out
 * where the server has none.
 */
function facts(start: () => Promise<Target>): void {
  let target: Target;
  let sleeper: string | null = null;
  let raiser: string | null = null;

  beforeAll(async () => {
    target = await start();
    const classes = (await ask(target, "GET", "/object_info")).json<Record<string, unknown>>();
    const known = (names: readonly string[]): string | null =>
      names.find((name) => name in classes) ?? null;
    sleeper = known(["HoldfastSleep", "FaultSleep"]);
    raiser = known(["HoldfastRaise", "FaultRaise"]);
  });
  afterAll(async () => {
    await target.stop();
  });

  const sleepGraph = (seconds: number, poll: boolean): PostedJson => ({
    ...flatGraph(color(), `sleep-${randomUUID()}`),
    "2": { class_type: "PreviewImage", inputs: { images: ["7", 0] } },
    "7": { class_type: sleeper ?? "", inputs: { image: ["1", 0], seconds, poll } },
  });
  const post = async (body: unknown): Promise<ReturnType<typeof ask>> =>
    ask(target, "POST", "/prompt", body);

  describe("submitting", () => {
    it("F1: the caller's prompt id is taken, and the same id runs twice", async () => {
      const promptId = randomUUID();
      const socket = await socketOf(target, promptId);
      const body = { prompt_id: promptId, client_id: promptId };
      const first = await post({ ...body, prompt: flatGraph(color(), "f1") });
      await post({ ...body, prompt: flatGraph(color(), "f1") });
      expect(first.json()).toMatchObject({ prompt_id: promptId, node_errors: {} });
      await socket.until(() => socket.types.filter((t) => t === "execution_success").length === 2);
      await socket.close();
    });

    it("F2: a graph with one bad output is accepted, and that output is dropped", async () => {
      const graph = {
        ...flatGraph(color(), "f2"),
        "3": { class_type: "LoadImage", inputs: { image: "no-such-file.png" } },
        "4": { class_type: "SaveImage", inputs: { images: ["3", 0], filename_prefix: "f2" } },
      };
      const answer = await post({ prompt: graph });
      const body = answer.json<{ prompt_id: string; node_errors: Record<string, unknown> }>();
      expect(answer.status).toBe(200);
      expect(Object.keys(body.node_errors)).toEqual(["3"]);
      const entry = await untilEnded(target, body.prompt_id);
      expect(entry.status.status_str).toBe("success");
      expect(Object.keys(entry.outputs)).toEqual(["2"]);
    });

    it("F3: a cycle is refused without evidence", async () => {
      const graph = {
        "1": { class_type: "ImageInvert", inputs: { image: ["3", 0] } },
        "3": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
        "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "f3" } },
      };
      const answer = await post({ prompt: graph });
      expect(answer.status).toBe(400);
      expect(answer.json()).toMatchObject({
        error: { type: "prompt_outputs_failed_validation", details: "" },
        node_errors: {},
      });
    });

    it.each([
      ["no JSON", "{not json"],
      ["a list", { prompt: [1] }],
      ["a string", { prompt: "abc" }],
      ["the editor's format", { prompt: { last_node_id: 1, nodes: [], links: [] } }],
    ])("F4: %s is a bare 500 in plain text", async (_what, body) => {
      const answer = await post(body);
      expect(answer.status).toBe(500);
      expect(answer.headers.get("content-type")).toContain("text/plain");
    });

    it("F5: a missing model lists the values that would be valid", async () => {
      const graph = {
        "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "no-such.safetensors" } },
        "2": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
        "3": { class_type: "VAEDecode", inputs: { samples: ["2", 0], vae: ["1", 2] } },
        "4": { class_type: "SaveImage", inputs: { images: ["3", 0], filename_prefix: "f5" } },
      };
      const answer = await post({ prompt: graph });
      const { node_errors: errors } = answer.json<{
        node_errors: Record<
          string,
          { errors: { type: string; extra_info: { input_config: unknown[] } }[] }
        >;
      }>();
      expect(errors["1"]?.errors[0]?.type).toBe("value_not_in_list");
      expect(Array.isArray(errors["1"]?.errors[0]?.extra_info.input_config[0])).toBe(true);
    });

    it("F27: equal numbers and ids are a 500, and the second one runs all the same", async (context) => {
      if (sleeper === null) context.skip();
      const held = randomUUID();
      const twice = randomUUID();
      const socket = await socketOf(target, held);
      await post({ prompt: sleepGraph(20, true), prompt_id: held, client_id: held });
      // A heap compares an item with the one above it: the two only meet when nothing else waits.
      await socket.untilExecuting("7");
      const body = { prompt: flatGraph(color(), "f27"), prompt_id: twice, number: -5 };
      const first = await post(body);
      const second = await post({ ...body, prompt: flatGraph(color(), "f27") });
      expect([first.status, second.status]).toEqual([200, 500]);
      const queue = (await ask(target, "GET", "/queue")).json<{ queue_pending: unknown[][] }>();
      expect(queue.queue_pending.filter((item) => item[1] === twice)).toHaveLength(2);
      await ask(target, "POST", "/interrupt", { prompt_id: held });
      await untilEnded(target, twice);
      await socket.close();
    });

    it("F28: the queue shows what was posted, secrets included", async (context) => {
      if (sleeper === null) context.skip();
      const held = randomUUID();
      const waiting = randomUUID();
      await post({ prompt: sleepGraph(1, true), prompt_id: held });
      const extra = { api_key_comfy_org: "not-a-secret" };
      await post({ prompt: flatGraph(color(), "f28"), prompt_id: waiting, extra_data: extra });
      const queue = (await ask(target, "GET", "/queue")).json<{ queue_pending: unknown[][] }>();
      expect(queue.queue_pending.find((item) => item[1] === waiting)?.[3]).toMatchObject(extra);
      await ask(target, "POST", "/interrupt", { prompt_id: held });
      const entry = await untilEnded(target, waiting);
      expect(entry.prompt[3]).not.toHaveProperty("api_key_comfy_org");
    });
  });

  describe("watching", () => {
    it("F11: a run's events come in their order, and the end marker last", async () => {
      const clientId = randomUUID();
      const socket = await socketOf(target, clientId);
      const promptId = randomUUID();
      const graph = flatGraph(color(), "f11");
      await post({ prompt: graph, client_id: clientId, prompt_id: promptId });
      await socket.untilEnded(promptId);
      const seen = socket.types.filter((type) => type !== "status" && type !== "progress_state");
      expect(seen).toEqual([
        "execution_start",
        "execution_cached",
        "executing",
        "executing",
        "executed",
        "execution_success",
        "executing",
      ]);
      await socket.close();
    });

    it("F7: a socket that comes back is told the node that runs, and the rest", async (context) => {
      if (sleeper === null) context.skip();
      const clientId = randomUUID();
      const promptId = randomUUID();
      const first = await socketOf(target, clientId);
      const graph = sleepGraph(1, true);
      await post({ prompt: graph, client_id: clientId, prompt_id: promptId });
      await first.until(() => first.types.filter((type) => type === "executing").length === 2);
      await first.close();
      const second = await socketOf(target, clientId);
      await second.untilEnded(promptId);
      expect(second.frames[1]).toEqual({
        kind: "json",
        json: { type: "executing", data: { node: "7" } },
      });
      await second.close();
    });

    it("F8: closing the old socket after the new one opened leaves the new one deaf", async () => {
      const clientId = randomUUID();
      const old = await socketOf(target, clientId);
      const fresh = await socketOf(target, clientId);
      await fresh.until(() => fresh.frames.length > 0);
      await old.close();
      // The server works the close off before it works off what comes after it on this connection.
      await ask(target, "GET", "/prompt");
      const before = fresh.frames.length;
      await run(target, flatGraph(color(), "f8"), { client_id: clientId });
      expect(fresh.isOpen).toBe(true);
      expect(fresh.frames.length).toBe(before);
      await fresh.close();
    });

    it("F9: the history keeps the messages, and forgets what is deleted", async () => {
      const promptId = randomUUID();
      const entry = await run(target, flatGraph(color(), "f9"), { prompt_id: promptId });
      expect(entry.status.messages.map(([type]) => type)).toEqual([
        "execution_start",
        "execution_cached",
        "execution_success",
      ]);
      await ask(target, "POST", "/history", { delete: [promptId] });
      expect((await ask(target, "GET", `/history/${promptId}`)).json()).toEqual({});
    });

    it("F10: an out-of-memory error carries ComfyUI's own words", async (context) => {
      if (raiser === null) context.skip();
      const graph = {
        ...flatGraph(color(), "f10"),
        "2": { class_type: "PreviewImage", inputs: { images: ["5", 0] } },
        "5": { class_type: raiser ?? "", inputs: { image: ["1", 0], kind: "oom", message: "" } },
      };
      const entry = await run(target, graph);
      const error = entry.status.messages.at(-1);
      expect(entry.status.status_str).toBe("error");
      expect(error?.[0]).toBe("execution_error");
      expect(error?.[1]["exception_type"]).toBe("torch.OutOfMemoryError");
      expect(error?.[1]["exception_message"]).toMatch(/\nThis error means you ran out of memory/);
    });
  });

  describe("stopping", () => {
    it("F13: an interrupt for a prompt that does not run is a 200 without effect", async () => {
      const answer = await ask(target, "POST", "/interrupt", { prompt_id: randomUUID() });
      expect(answer.status).toBe(200);
      expect((await run(target, flatGraph(color(), "f13"))).status.completed).toBe(true);
    });

    it("F13: a node that polls is interrupted, and the history says error", async (context) => {
      if (sleeper === null) context.skip();
      const promptId = randomUUID();
      const clientId = randomUUID();
      const socket = await socketOf(target, clientId);
      await post({ prompt: sleepGraph(20, true), prompt_id: promptId, client_id: clientId });
      await socket.until(() => socket.types.filter((type) => type === "executing").length === 2);
      await ask(target, "POST", "/interrupt", { prompt_id: promptId });
      const entry = await untilEnded(target, promptId);
      expect(entry.status.status_str).toBe("error");
      expect(entry.status.messages.at(-1)?.[0]).toBe("execution_interrupted");
      await socket.close();
    });

    it("F14: /free drops the node cache", async () => {
      const graph = flatGraph(color(), "f14");
      await run(target, graph);
      expect(cachedNodes(await run(target, graph))).toEqual(["1", "2"]);
      await ask(target, "POST", "/free", { unload_models: true, free_memory: true });
      // A worker that collects garbage meanwhile (F29) takes the next prompt first.
      const [next, afterNext] = [await run(target, graph), await run(target, graph)];
      const cached = [next, afterNext].map((entry) => cachedNodes(entry).length);
      expect([
        [0, 2],
        [2, 0],
      ]).toContainEqual(cached);
    });
  });

  describe("caching and outputs", () => {
    it("F15: after a failed prompt only what had not finished runs again", async (context) => {
      if (raiser === null) context.skip();
      const graph = {
        ...flatGraph(color(), "f15"),
        "2": { class_type: "PreviewImage", inputs: { images: ["5", 0] } },
        "5": {
          class_type: raiser ?? "",
          inputs: { image: ["1", 0], kind: "runtime", message: "no" },
        },
      };
      await run(target, graph);
      expect(cachedNodes(await run(target, graph))).toEqual(["1"]);
    });

    it("F15: the cache keeps nothing that the prompt in between did not have", async () => {
      const graph = flatGraph(color(), "f15-classic");
      await run(target, graph);
      await run(target, flatGraph(color(), "f15-other"));
      expect(cachedNodes(await run(target, graph))).toEqual([]);
    });

    it("F16: a cached prompt names the old file; another prefix saves again", async () => {
      const shade = color();
      const prefix = `f16-${randomUUID()}`;
      const first = fileOf(await run(target, flatGraph(shade, prefix)));
      const again = await run(target, flatGraph(shade, prefix));
      expect(fileOf(again)).toEqual(first);
      const other = await run(target, flatGraph(shade, `${prefix}-b`));
      expect(cachedNodes(other)).toEqual(["1"]);
      expect(fileOf(other).filename).toBe(`${prefix}-b_00001_.png`);
    });

    it("a prefix with folders saves into them, and numbers go on", async () => {
      const prefix = `folder-${randomUUID()}/deep/name`;
      const first = fileOf(await run(target, flatGraph(color(), prefix)));
      const second = fileOf(await run(target, flatGraph(color(), prefix)));
      expect(first).toMatchObject({ filename: "name_00001_.png", subfolder: prefix.slice(0, -5) });
      expect(second.filename).toBe("name_00002_.png");
      expect((await ask(target, "GET", viewPath(second))).status).toBe(200);
    });

    it("F17: a preview is a temp file, and is served", async () => {
      const graph = {
        ...flatGraph(color(), "f17"),
        "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      };
      const file = fileOf(await run(target, graph));
      expect(file.type).toBe("temp");
      const answer = await ask(target, "GET", viewPath(file));
      expect(answer.headers.get("content-type")).toBe("image/png");
      expect(answer.bytes.subarray(1, 4).toString()).toBe("PNG");
    });

    it("F18, F19: a latent is uploaded under a folder, and loads from there", async () => {
      const saved = await run(target, {
        "1": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 2 } },
        "2": {
          class_type: "SaveLatent",
          inputs: { samples: ["1", 0], filename_prefix: `f18-${randomUUID()}` },
        },
      });
      const file = saved.outputs["2"]?.latents?.[0];
      if (file === undefined) throw new Error("no latent");
      const bytes = await ask(target, "GET", viewPath(file));
      expect(bytes.headers.get("content-type")).toBe("application/octet-stream");
      const form = new FormData();
      const name = `${randomUUID()}.latent`;
      form.append("image", new Blob([new Uint8Array(bytes.bytes)]), name);
      form.append("subfolder", "sub");
      expect((await ask(target, "POST", "/upload/image", form)).json()).toEqual({
        name,
        subfolder: "sub",
        type: "input",
      });
      const loaded = await run(target, {
        "1": { class_type: "LoadLatent", inputs: { latent: `sub/${name}` } },
        "2": {
          class_type: "SaveLatent",
          inputs: { samples: ["1", 0], filename_prefix: `f18-${randomUUID()}` },
        },
      });
      expect(loaded.status.status_str).toBe("success");
    });

    it("an uploaded picture comes back pixel by pixel, ranges and ETags work", async () => {
      const shade = color();
      const made = await ask(
        target,
        "GET",
        viewPath(fileOf(await run(target, flatGraph(shade, `up-${randomUUID()}`)))),
      );
      const form = new FormData();
      const name = `${randomUUID()}.png`;
      form.append("image", new Blob([new Uint8Array(made.bytes)]), name);
      await ask(target, "POST", "/upload/image", form);
      const path = `/view?filename=${name}&type=input`;
      const whole = await ask(target, "GET", path);
      expect(whole.bytes.equals(made.bytes)).toBe(true);
      const part = await ask(target, "GET", path, undefined, { Range: "bytes=1-3" });
      expect([part.status, part.bytes.toString()]).toEqual([206, "PNG"]);
      const etag = whole.headers.get("etag") ?? "";
      const same = await ask(target, "GET", path, undefined, { "If-None-Match": etag });
      expect(same.status).toBe(304);
      expect((await ask(target, "GET", "/view?filename=../x.png&type=input")).status).toBe(400);
    });
  });

  describe("model files", () => {
    const metadataOf = (folder: string, name: string): ReturnType<typeof ask> =>
      ask(target, "GET", `/view_metadata/${folder}?${new URLSearchParams({ filename: name })}`);

    it("are listed with their sizes, and only under their folders' present names", async () => {
      const list = await ask(target, "GET", "/experiment/models/checkpoints");
      const files = list.json<{ name: string; pathIndex: number; size: number }[]>();
      const names = (await ask(target, "GET", "/models/checkpoints")).json<string[]>();
      expect(files.map(({ name }) => name).sort()).toEqual([...names].sort());
      for (const file of files) {
        expect(file).toMatchObject({ pathIndex: expect.any(Number), size: expect.any(Number) });
      }
      for (const folder of ["unet", "nothing"]) {
        const other = await ask(target, "GET", `/experiment/models/${folder}`);
        expect([other.status, other.bytes.length]).toEqual([404, 0]);
      }
    });

    it("tell what their headers say, as texts, or that there is nothing", async (context) => {
      const lack = await lackOfCheckpoint(target);
      if (lack !== undefined) context.skip(lack);
      const names = (await ask(target, "GET", "/models/checkpoints")).json<string[]>();
      expect(names).toContain(CHECKPOINT);
      for (const name of names) {
        const answer = await metadataOf("checkpoints", name);
        expect([200, 404]).toContain(answer.status);
        if (answer.status === 404) continue;
        const texts = Object.values(answer.json<Record<string, unknown>>());
        expect(texts.every((text) => typeof text === "string")).toBe(true);
        expect((await metadataOf("checkpoints", `../${name}`)).bytes).toEqual(answer.bytes);
      }
    });

    it("that are no safetensors, not there, or in no folder, answer with a bare 404", async () => {
      for (const [folder, name] of [
        ["checkpoints", "none.safetensors"],
        ["checkpoints", "tiny.ckpt"],
        ["nothing", CHECKPOINT],
        ["unet", CHECKPOINT],
      ] as const) {
        const answer = await metadataOf(folder, name);
        expect([answer.status, answer.bytes.length]).toEqual([404, 0]);
      }
      expect((await ask(target, "GET", "/view_metadata/checkpoints")).status).toBe(404);
    });
  });

  it("an Origin that is not the server's own is refused on loopback", async () => {
    const answer = await ask(target, "GET", "/prompt", undefined, { Origin: "http://127.0.0.1:1" });
    expect([answer.status, answer.bytes.length]).toEqual([403, 0]);
  });
}

describe("simulator", () => {
  facts(startSimulated);
});

if (REAL_URL === undefined) {
  console.log("conformance: HOLDFAST_TEST_COMFYUI_URL is not set, a real ComfyUI is not checked");
}
describe.skipIf(REAL_URL === undefined)("real ComfyUI", () => {
  facts(() => Promise.resolve(realTarget()));
});
