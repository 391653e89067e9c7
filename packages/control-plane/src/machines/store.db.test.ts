import type { Inventory } from "@holdfast/contract";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { insertInventory, readInventories } from "./store.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const plain: Inventory = {
  digest: "a".repeat(64),
  nodeClasses: ["KSampler"],
  models: { loras: ["x.safetensors"] },
  comfyuiVersion: null,
  vramTotalBytes: null,
  deviceName: null,
  simulated: true,
};

it("an inventory keeps what its model files say, and one that does not tell stays as it was", async () => {
  const fact = {
    folder: "loras",
    name: "x.safetensors",
    architecture: "stable-diffusion-v1/lora",
    baseModel: "sd_v1",
    tensorHash: "b".repeat(64),
    sizeBytes: 8_000_000_000,
  };
  const telling = { ...plain, digest: "c".repeat(64), modelFacts: [fact] };
  await insertInventory(database.db, plain, {});
  await insertInventory(database.db, telling, {});
  expect(await readInventories(database.db, [plain.digest])).toEqual([plain]);
  expect(await readInventories(database.db, [telling.digest])).toEqual([telling]);
});
