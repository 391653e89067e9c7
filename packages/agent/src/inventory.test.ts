import { describe, expect, it } from "vitest";
import { HoldfastError, inventorySchema, type InventoryUpload } from "@holdfast/contract";
import { parseObjectInfo, type SystemStats } from "@holdfast/comfyui/protocol";
import { seededRandom, type Clock } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { toInventory, withModelFacts } from "./inventory.ts";
import { InventorySender } from "./inventory-sender.ts";

const nothing = (): void => undefined;
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing } as unknown as AgentLog;
const stats: SystemStats = {
  comfyuiVersion: `0.3.64\0${"x".repeat(100)}`,
  pythonVersion: undefined,
  pytorchVersion: undefined,
  argv: [],
  devices: [],
} as unknown as SystemStats;

function objectInfoWith(models: readonly string[], classes: readonly string[] = []) {
  const loader = {
    input: { required: { ckpt_name: [models, {}] } },
    output: [],
    output_node: false,
  };
  const info = parseObjectInfo({
    CheckpointLoaderSimple: loader,
    ...Object.fromEntries(classes.map((name) => [name, { ...loader, input: { required: {} } }])),
  });
  if (info === undefined) throw new Error("no object_info");
  return info;
}

describe("an inventory", () => {
  it("leaves out names that would make the whole of it be refused, and counts them", () => {
    const { inventory, omitted } = toInventory(
      objectInfoWith(
        ["a.safetensors", "x".repeat(513), "b\0.safetensors", "\ud83d.safetensors"],
        ["Fine", "c".repeat(257), "\udc00"],
      ),
      stats,
    );
    expect(inventorySchema.safeParse(inventory).success).toBe(true);
    expect(inventory.nodeClasses).toEqual(["CheckpointLoaderSimple", "Fine"]);
    expect(Object.values(inventory.models)).toEqual([["a.safetensors"]]);
    expect(inventory.comfyuiVersion).not.toContain("\0");
    expect(omitted).toBe(5);
  });
});

describe("what model files say", () => {
  const { inventory } = toInventory(objectInfoWith(["a.safetensors"]), stats);
  const fact = {
    folder: "checkpoints",
    name: "a.safetensors",
    architecture: "flux-1-dev",
    baseModel: null,
    tensorHash: "a".repeat(64),
    sizeBytes: 7,
  };

  it("makes another inventory, which the contract takes, and without it the same as before", () => {
    const telling = withModelFacts(inventory, [fact]);
    expect(inventorySchema.parse(telling)).toEqual(telling);
    expect(telling.digest).not.toBe(inventory.digest);
    expect(withModelFacts(inventory, [{ ...fact, sizeBytes: 8 }]).digest).not.toBe(telling.digest);
    expect(withModelFacts(telling, undefined)).toEqual(inventory);
  });
});

describe("a wanted inventory", () => {
  const objectInfo = objectInfoWith(["a.safetensors"]);
  let known = { inventory: toInventory(objectInfo, stats).inventory, objectInfo };
  const { digest } = known.inventory;

  function senderTo(put: (upload: InventoryUpload) => Promise<void>) {
    const state = { now: 0, uploads: 0, sent: 0 };
    const clock: Clock = {
      now: () => state.now,
      elapsed: () => state.now,
      sleep: () => Promise.reject(new Error("nobody sleeps here")),
    };
    const sender = new InventorySender({
      clock,
      random: seededRandom(1),
      log,
      signal: new AbortController().signal,
      find: (wanted) => (wanted === digest ? known : undefined),
      onSent: () => {
        state.sent += 1;
      },
      link: {
        putInventory: (upload) => {
          state.uploads += 1;
          return put(upload);
        },
      },
    });
    return { sender, state };
  }

  it("is uploaded once, however often it is asked for meanwhile and right after", async () => {
    let stored = nothing;
    const { sender, state } = senderTo(
      () =>
        new Promise((resolve) => {
          stored = resolve;
        }),
    );
    for (let n = 0; n < 10; n += 1) sender.want([digest, digest]);
    expect(state.uploads).toBe(1);
    stored();
    await settled();
    expect(state.sent).toBe(1);
    sender.want([digest]);
    expect(state.uploads).toBe(1);
    // The control plane may have lost it.
    state.now += 60_000;
    sender.want([digest]);
    expect(state.uploads).toBe(2);
  });

  it("is tried less and less often when it is refused, and never given up", async () => {
    const { sender, state } = senderTo(() =>
      Promise.reject(new HoldfastError("body_too_large", "too large")),
    );
    const perHour: number[] = [];
    for (let hour = 0; hour < 3; hour += 1) {
      const before = state.uploads;
      for (let ask = 0; ask < 14_400; ask += 1) {
        state.now += 250;
        sender.want([digest]);
        if (state.uploads > before) await Promise.resolve();
        await Promise.resolve();
      }
      perHour.push(state.uploads - before);
    }
    expect(perHour[0]).toBeLessThan(30);
    expect(perHour[2]).toBeGreaterThan(8);
    expect(perHour[2]).toBeLessThan(20);
  });

  it("goes out clean", async () => {
    const uploads: InventoryUpload[] = [];
    const { sender } = senderTo((upload) => {
      uploads.push(upload);
      return Promise.resolve();
    });
    known = { ...known, objectInfo: objectInfoWith(["\0.safetensors"]) };
    sender.want([digest]);
    await settled();
    expect(JSON.stringify(uploads[0]?.objectInfo)).not.toContain("\\u0000");
  });
});
