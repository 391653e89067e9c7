import type { InstanceReport, Inventory } from "@holdfast/contract";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { createMachinesService } from "./service.ts";
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

it("what an older process says of its instances is not written over what a newer one has begun", async () => {
  const { db } = database;
  const machines = createMachinesService(db);
  const machine = { id: "mch_1", name: "box", bootId: "boot-boot", agentVersion: "1" };
  const declared = [{ id: "ins_1", key: "http://a", name: "a", canRestart: false }];
  const state = async (): Promise<unknown> =>
    (await db.query<{ state: string }>("select state from instances")).rows[0]?.state;
  const reportAs = (session: number, now: InstanceReport["state"]) =>
    machines.report(db, { machineId: "mch_1", session }, [
      {
        instanceId: "ins_1" as InstanceReport["instanceId"],
        state: now,
        reason: null,
        inventoryDigest: null,
        wants: 0,
        vramFreeBytes: null,
      },
    ]);
  await machines.register(db, machine, declared);
  expect(await reportAs(1, "healthy")).toMatchObject([{ id: "ins_1", state: "healthy" }]);
  let late: Promise<unknown> = Promise.resolve();
  await db.transaction(async (tx) => {
    await machines.register(tx, machine, declared);
    // Its session was looked up before this one began.
    late = reportAs(1, "stopped");
    await expect
      .poll(async () => (await db.query("select from pg_locks where not granted")).rowCount)
      .toBeGreaterThan(0);
  });
  expect(await late).toEqual([]);
  expect(await state()).toBe("starting");
  await reportAs(2, "healthy");
  expect(await reportAs(1, "stopped")).toEqual([]);
  expect(await state()).toBe("healthy");
});
