import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  ask,
  flatGraph,
  REAL_URL,
  realTarget,
  run,
  socketOf,
  startSimulated,
  untilEnded,
  type HistoryJson,
  type PostedJson,
  type Target,
} from "./target.ts";

/** Of the pack `comfyui-nodes/holdfast-faults`. */
const PACK = [
  "HoldfastSleep",
  "HoldfastHang",
  "HoldfastRaise",
  "HoldfastOOM",
  "HoldfastLeak",
  "HoldfastFillDisk",
  "HoldfastExit",
  "HoldfastCrash",
  "HoldfastBlock",
  "HoldfastProgressText",
];

type Classes = Readonly<
  Record<string, { readonly input: object; readonly input_order: object; readonly output: object }>
>;

const color = (): number => Math.floor(Math.random() * 0xffffff);

function through(classType: string, inputs: object = {}, size = 16): PostedJson {
  return {
    ...flatGraph(color(), `pack-${randomUUID()}`, size),
    "2": { class_type: "PreviewImage", inputs: { images: ["9", 0] } },
    "9": { class_type: classType, inputs: { image: ["1", 0], ...inputs } },
  };
}

function lastOf(entry: HistoryJson): Readonly<Record<string, unknown>> {
  const [type, data] = entry.status.messages.at(-1) ?? [];
  return { type, ...data };
}

async function classesOf(target: Target): Promise<Classes> {
  return (await ask(target, "GET", "/object_info")).json<Classes>();
}

/** Nodes that fail on purpose, the same in the simulator and in a real ComfyUI that has the pack. */
function faultNodes(start: () => Promise<Target>): void {
  let target: Target;
  let classes: Classes;
  let isThere = false;

  beforeAll(async () => {
    target = await start();
    classes = await classesOf(target);
    isThere = PACK.every((name) => name in classes);
    if (!isThere) console.warn(`conformance: SKIPPED, ${target.name} has no pack holdfast-faults`);
  });
  afterAll(async () => {
    await target.stop();
  });
  beforeEach((context) => {
    if (!isThere) context.skip();
  });

  it("have the same inputs as the simulator's", async () => {
    const simulated = await startSimulated();
    const expected = await classesOf(simulated);
    await simulated.stop();
    for (const name of PACK) {
      const { input, input_order: order, output } = classes[name] ?? {};
      const own = expected[name];
      // The real one names a hidden input where the simulator needs none.
      expect({ ...input, hidden: undefined }, name).toEqual({ ...own?.input, hidden: undefined });
      expect({ ...order, hidden: undefined }).toEqual({ ...own?.input_order, hidden: undefined });
      expect(output).toEqual(own?.output);
    }
  });

  it("HoldfastOOM: only a batch of more pixels than allowed runs out of memory", async () => {
    const fits = await run(target, through("HoldfastOOM", { gib: 1000, above_pixels: 256 }));
    expect(fits.status.status_str).toBe("success");
    const over = await run(target, through("HoldfastOOM", { gib: 1000, above_pixels: 255 }));
    expect(lastOf(over)).toMatchObject({
      type: "execution_error",
      exception_type: "torch.OutOfMemoryError",
      node_type: "HoldfastOOM",
    });
    expect(lastOf(over)["exception_message"]).toMatch(/^CUDA out of memory\. Tried to allocate /);
    const asked = await run(target, through("HoldfastOOM", { gib: 0.001, above_pixels: 0 }));
    expect(asked.status.status_str).toBe("success");
  });

  const raise = async (inputs: object): Promise<Readonly<Record<string, unknown>>> =>
    lastOf(await run(target, through("HoldfastRaise", inputs)));
  it("HoldfastRaise: any type with any message", async () => {
    const message = "No space, no time: «später»";
    expect(await raise({ kind: "value", message })).toMatchObject({
      exception_type: "ValueError",
      exception_message: `${message}\n`,
    });
    const named = { kind: "other", message, exception_type: "PermissionError" };
    expect((await raise(named))["exception_type"]).toBe("PermissionError");
    const foreign = { ...named, exception_type: "odd.module.NobodyKnowsError" };
    expect((await raise(foreign))["exception_type"]).toBe("odd.module.NobodyKnowsError");
    expect(await raise({ kind: "enospc", message: "" })).toMatchObject({
      exception_type: "OSError",
      exception_message: "[Errno 28] No space left on device\n",
    });
  });

  it("HoldfastFillDisk: no space left, whether or not something was written", async () => {
    for (const how of ["raise", "fill"]) {
      const entry = await run(target, through("HoldfastFillDisk", { how, mib: 2 }));
      expect(lastOf(entry)).toMatchObject({
        node_type: "HoldfastFillDisk",
        exception_type: "OSError",
        exception_message: "[Errno 28] No space left on device\n",
      });
    }
    expect((await run(target, flatGraph(color(), "after"))).status.completed).toBe(true);
  });

  it("HoldfastLeak: the picture comes through", async () => {
    for (const heldBy of ["cache", "process"]) {
      const inputs = { mib: 4, where: "vram", held_by: heldBy };
      const entry = await run(target, through("HoldfastLeak", inputs));
      expect(entry.status.status_str).toBe("success");
      expect(entry.outputs["2"]?.images).toHaveLength(1);
    }
  });

  it("HoldfastBlock: what comes after it gives nothing, and the prompt succeeds", async () => {
    const entry = await run(target, through("HoldfastBlock", { message: "nothing here" }));
    expect(entry.status.status_str).toBe("success");
    expect(entry.outputs).toEqual({});
  });

  it("HoldfastHang: one that polls ends with an interrupt", async () => {
    const id = randomUUID();
    const socket = await socketOf(target, id);
    const body = { prompt: through("HoldfastHang", { poll: true }), prompt_id: id, client_id: id };
    expect((await ask(target, "POST", "/prompt", body)).status).toBe(200);
    await socket.until(() => socket.types.filter((type) => type === "executing").length === 2);
    await ask(target, "POST", "/interrupt", { prompt_id: id });
    expect(lastOf(await untilEnded(target, id))["type"]).toBe("execution_interrupted");
    await socket.close();
  });

  it.for(["kill", "segfault", "exit"])("HoldfastCrash by %s: it is gone", async (how, context) => {
    if (target.restart === undefined) {
      context.skip();
      return;
    }
    const id = randomUUID();
    const socket = await socketOf(target, id);
    const body = { prompt: through("HoldfastCrash", { how }), prompt_id: id, client_id: id };
    await ask(target, "POST", "/prompt", body).catch(() => undefined);
    await socket.untilClosed();
    await target.restart();
    expect((await ask(target, "GET", `/history/${id}`)).json()).toEqual({});
    expect((await run(target, flatGraph(color(), "reborn"))).status.completed).toBe(true);
  });
}

describe("fault nodes of the simulator", () => {
  faultNodes(startSimulated);
});

describe.skipIf(REAL_URL === undefined)(
  "fault nodes of a real ComfyUI",
  { timeout: 240_000 },
  () => {
    faultNodes(() => Promise.resolve(realTarget()));
  },
);
