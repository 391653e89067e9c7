/** What machines are asked to fetch, on a real database. */
import { MAX_MODELS_WANTED } from "@holdfast/contract";
import { createIdSource } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { createMachinesService } from "../machines/service.ts";
import {
  toInventoryIndex,
  type MachineOffers,
  type Needs,
  type PlacedInstance,
} from "../machines/model.ts";
import type { Servers } from "../machines/servers.ts";
import { SILENT_LOG } from "../platform/log.ts";
import type { ActiveRequirement } from "./active-requirements.ts";
import { createModelFetching, type ModelFetching } from "./fetch-service.ts";

let test: TestDatabase;
let clock: FakeClock;
let fetching: ModelFetching;
let offers: MachineOffers[];
let offersFail: boolean;
const asked = new Set<string>();

beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());
beforeEach(async () => {
  await emptyTables(test.db, ["machines", "model_fetches"]);
  for (const id of ["mch_1", "mch_2"]) {
    await createMachinesService(test.db).register(
      test.db,
      { id, name: id, bootId: "boot-boot", agentVersion: "1" },
      [],
    );
  }
  clock = createFakeClock();
  offers = [];
  offersFail = false;
  asked.clear();
  fetching = createModelFetching({
    db: test.db,
    clock,
    ids: createIdSource(systemClock, systemRandom),
    log: SILENT_LOG,
    machines: {
      offers: () => (offersFail ? Promise.reject(new Error("away")) : Promise.resolve(offers)),
    },
    signal: { wakeMachine: (id) => void asked.add(id) },
    recordUnserved: () => Promise.resolve(),
  });
});

const model = (name: string) => ({ folder: "loras", name });
const requirement = (id: number, names: readonly string[]): ActiveRequirement => ({
  id,
  needs: { nodeClasses: [], models: names.map(model) } satisfies Needs,
  waitingReason: null,
});
const offering = (
  machineId: string,
  names: readonly string[],
  fetches: MachineOffers["fetches"] = [],
): MachineOffers => ({
  machineId,
  machineName: machineId,
  models: names.map((name) => ({ ...model(name), sizeBytes: null })),
  fetches,
  diskFreeBytes: machineId === "mch_1" ? 1_000 : 1,
});
const EMPTY = toInventoryIndex({
  digest: "d",
  nodeClasses: [],
  models: {},
  vramTotalBytes: null,
  deviceName: null,
  simulated: true,
});
const servers = {
  instances: ["mch_1", "mch_2"].map((machineId) => ({
    instance: { id: `ins_${machineId}`, machineId, state: "healthy" } as PlacedInstance,
    inventory: EMPTY,
  })),
} as unknown as Servers;
const look = async (...lacking: readonly ActiveRequirement[]): Promise<void> => {
  await clock.advance(2_000);
  await fetching.look(lacking, servers);
};

it("models that several requirements have in common are asked for once", async () => {
  offers = [offering("mch_1", ["x", "y"])];
  await look(requirement(1, ["x"]), requirement(2, ["x", "y"]));
  expect(fetching.wantedOf("mch_1")).toEqual([model("x"), model("y")]);
  // Once more, when both were asked for already.
  await look(requirement(1, ["x"]), requirement(2, ["x", "y"]));
  expect(fetching.underWay(1)).toContain("loras/x");
  expect(fetching.underWay(2)).toContain("1 more");
});

it("a look that fails stops nobody, and what was being fetched is so for a while", async () => {
  offers = [offering("mch_1", ["x"])];
  await look(requirement(1, ["x"]));
  offersFail = true;
  await look(requirement(1, ["x"]));
  expect(fetching.underWay(1)).not.toBeNull();
  await clock.advance(60_000);
  await look(requirement(1, ["x"]));
  expect(fetching.underWay(1)).toBeNull();
});

it("a machine is never told more than an answer may name, and what was asked first comes first", async () => {
  const many = Array.from({ length: MAX_MODELS_WANTED }, (_, n) => `m${n}`);
  offers = [offering("mch_1", [...many, "a-late"])];
  await look(...many.map((name, n) => requirement(n + 1, [name])));
  await look(requirement(1_000, ["a-late"]));
  const wanted = fetching.wantedOf("mch_1");
  expect(wanted).toHaveLength(MAX_MODELS_WANTED);
  expect(wanted).not.toContainEqual(model("a-late"));
});

const listing = (machineId: string, names: readonly string[]): Servers =>
  ({
    instances: servers.instances.map((known) =>
      known.instance.machineId === machineId
        ? {
            ...known,
            inventory: toInventoryIndex({
              digest: names.join(),
              nodeClasses: [],
              models: { loras: [...names] },
              vramTotalBytes: null,
              deviceName: null,
              simulated: true,
            }),
          }
        : known,
    ),
  }) as unknown as Servers;
const askedMachines = async (): Promise<unknown[]> => {
  const { rows } = await test.db.query<{ id: string }>(
    "select machine_id as id from model_fetches order by machine_id",
  );
  return rows.map(({ id }) => id);
};

it("a model that its machine offers no more is on its way until the machine lists it", async () => {
  offers = [offering("mch_1", ["x"]), offering("mch_2", ["x"])];
  await look(requirement(1, ["x"]));
  // It is there, and no instance has looked yet.
  offers = [offering("mch_2", ["x"])];
  for (let waitedMs = 0; waitedMs < 120_000; waitedMs += 20_000) {
    await clock.advance(20_000);
    await look(requirement(1, ["x"]));
  }
  expect(fetching.underWay(1)).toContain("machine mch_1");
  expect(await askedMachines()).toEqual(["mch_1"]);
  // Nobody offers anything at all.
  offers = [];
  await look(requirement(1, ["x"]));
  expect(fetching.underWay(1)).toContain("machine mch_1");
  // Listed, and not to be had for another reason: nothing is under way any more.
  await clock.advance(2_000);
  await fetching.look([requirement(1, ["x"])], listing("mch_1", ["x"]));
  expect(fetching.underWay(1)).toBeNull();
});

it("a model that its machine offers no more and never lists is waited for for minutes, not longer", async () => {
  offers = [offering("mch_1", ["x"])];
  await look(requirement(1, ["x"]));
  offers = [];
  await look(requirement(1, ["x"]));
  await clock.advance(180_000);
  await look(requirement(1, ["x"]));
  expect(fetching.underWay(1)).toBeNull();
});

it("one of several models has come: the others are waited for, and a failure ends that", async () => {
  offers = [offering("mch_1", ["x", "y"]), offering("mch_2", ["x", "y"])];
  await look(requirement(1, ["x", "y"]));
  // Of x nobody says anything for a moment.
  offers = [offering("mch_1", ["y"]), offering("mch_2", ["x", "y"])];
  await look(requirement(1, ["x", "y"]));
  expect(await askedMachines()).toEqual(["mch_1", "mch_1"]);
  expect(fetching.underWay(1)).toContain("machine mch_1");
  const failed = { ...model("y"), state: "failed" as const, reason: "HTTP 403" };
  offers = [offering("mch_1", ["y"], [failed]), offering("mch_2", ["x", "y"])];
  await look(requirement(1, ["x", "y"]));
  expect(fetching.underWay(1)).toContain("machine mch_2");
});

it("a model that failed is not on its way once its offer has gone", async () => {
  offers = [offering("mch_1", ["x"])];
  await look(requirement(1, ["x"]));
  const failed = { ...model("x"), state: "failed" as const, reason: "HTTP 403" };
  offers = [offering("mch_1", ["x"], [failed])];
  await look(requirement(1, ["x"]));
  expect(fetching.underWay(1)).toBeNull();
  offers = [];
  await look(requirement(1, ["x"]));
  expect(fetching.underWay(1)).toBeNull();
});

it("a model that jobs need no more, and then again, is not on its way by what was seen before", async () => {
  offers = [offering("mch_1", ["x"])];
  await look(requirement(1, ["x"]));
  offers = [];
  await look();
  await look(requirement(1, ["x"]));
  expect(fetching.underWay(1)).toBeNull();
});

it("jobs are noted once; new ones at the next look, and the others are looked at again now and then", async () => {
  const { db } = test;
  await db.query(
    `insert into requirements (id, hash, needs) overriding system value values (77, 'h', '{"nodeClasses":[],"models":[]}')`,
  );
  await db.query(
    "insert into graphs (hash, body, node_count, size_bytes) values ('g', '{}', 1, 2)",
  );
  const queue = (id: string) =>
    db.query(
      `insert into jobs (id, owner, state, rank, requirement_id, graph_id, promised, timeout_ms)
       select $1, 'local', 'queued', 1, 77, g.id, '[]', 1000 from graphs g`,
      [id],
    );
  const noted = async (): Promise<readonly string[]> =>
    (
      await db.query<{ id: string }>("select id from jobs where plan is not null order by id")
    ).rows.map(({ id }) => id);
  offers = [offering("mch_1", ["x"])];
  await queue("job_2");
  await look(requirement(77, ["x"]));
  expect(await noted()).toEqual(["job_2"]);
  await queue("job_3");
  // Committed late.
  await queue("job_1");
  await look(requirement(77, ["x"]));
  expect(await noted()).toEqual(["job_2", "job_3"]);
  await clock.advance(60_000);
  await look(requirement(77, ["x"]));
  expect(await noted()).toEqual(["job_1", "job_2", "job_3"]);
});
