/** Profiles in a real Postgres: what is learned of runs, what is measured, and what is read again. */
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { DEFAULT_GRAPH_LIMITS, type Graph } from "@holdfast/comfyui/protocol";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { TEST_ACCESS } from "../../testing/test-access.ts";
import { buildHttpServer, type HttpServer } from "../platform/http/server.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { costOf } from "./cost-of-graph.ts";
import { PROFILES_MAX } from "./profile.ts";
import { profileRoutes } from "./routes.ts";
import { createProfilesService, type ProfilesService } from "./service.ts";

const GRAPH: Graph = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "sd15.safetensors" } },
  "5": { class_type: "EmptyLatentImage", inputs: { width: 512, height: 512, batch_size: 1 } },
  "9": { class_type: "SaveImage", inputs: { images: ["5", 0], filename_prefix: "x" } },
};
const MEASURED = {
  graph: GRAPH,
  gpuName: "NVIDIA GeForce RTX 4090",
  coldMs: 9_000,
  warmMs: 2_000,
  loadMs: 6_000,
  vramPeakBytes: 10_000_000_000,
  longestSilenceMs: 1_500,
  runs: 12,
  measuredAt: "2026-01-02T03:04:05.678Z",
};

let database: TestDatabase;
let profiles: ProfilesService;
let server: HttpServer;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await emptyTables(database.db, ["profiles"]);
  profiles = createProfilesService({ db: database.db, log: SILENT_LOG });
  server = buildHttpServer({
    log: SILENT_LOG,
    clock: systemClock,
    ids: createIdSource(systemClock, seededRandom(1)),
    bodyLimitBytes: 1_000_000,
  });
  await server.app.register(profileRoutes, {
    access: TEST_ACCESS,
    profiles,
    graphLimits: DEFAULT_GRAPH_LIMITS,
  });
});
afterEach(() => server.close());

async function call(method: "GET" | "PUT", path: string, payload?: unknown, role = "operator") {
  const answer = await server.app.inject({
    method,
    url: `/api/v1/profiles${path}`,
    headers: { "x-test-caller": `key_a/${role}`, "content-type": "application/json" },
    ...(payload !== undefined && { payload: JSON.stringify(payload) }),
  });
  return { status: answer.statusCode, body: answer.json<Record<string, unknown>>() };
}
const put = (...measured: readonly object[]) => call("PUT", "", { profiles: measured });
const { costKey } = costOf(GRAPH);
const CARD = "NVIDIA GeForce RTX 4090";

describe("the API of profiles", () => {
  it("takes what was measured, shows it in plain numbers, and knows it at once", async () => {
    expect(await put(MEASURED)).toEqual({ status: 200, body: { stored: 1 } });
    const { body } = await call("GET", "");
    expect(body).toEqual({
      next: null,
      items: [
        {
          costKey,
          gpuName: CARD,
          shape: costOf(GRAPH).shape,
          values: [
            { nodeId: "5", input: "batch_size", value: 1 },
            { nodeId: "5", input: "height", value: 512 },
            { nodeId: "5", input: "width", value: 512 },
          ],
          models: ["sd15.safetensors"],
          runs: 13,
          warm: { runs: 12, meanMs: 2_000, deviationMs: 0 },
          cold: { runs: 1, meanMs: 9_000, deviationMs: 0 },
          longestSilenceMs: 1_500,
          longestWarmLoadMs: 1_500,
          longestColdLoadMs: 1_500,
          loadMs: 6_000,
          vramPeakBytes: 10_000_000_000,
          measuredAt: MEASURED.measuredAt,
          updatedAt: expect.any(String),
        },
      ],
    });
    expect(profiles.typicalMs(costKey, CARD)).toBe(2_000);
    expect(profiles.vramPeakBytes(costKey)).toBe(10_000_000_000);
    // As ComfyUI names the card.
    expect(profiles.find(costKey, CARD)?.models).toEqual(["sd15.safetensors"]);
    // Of a card that nobody has measured: as on the others.
    expect(profiles.typicalMs(costKey, "Tesla T4")).toBe(2_000);
    expect(profiles.typicalMs("0".repeat(32))).toBeNull();
    expect(profiles.typicalMs(null)).toBeNull();
  });

  it("takes the same measurement twice as once, and one graph on two cards as two profiles", async () => {
    await put(MEASURED, { ...MEASURED, gpuName: null, warmMs: 50_000, runs: 4 });
    const before = (await profiles.list(null, 10)).map((one) => ({ ...one, updatedAt: 0 }));
    await put(MEASURED);
    const after = (await profiles.list(null, 10)).map((one) => ({ ...one, updatedAt: 0 }));
    expect(after).toEqual(before);
    expect(after.map(({ card }) => card)).toEqual(["", CARD]);
    // By the runs of each.
    expect(profiles.typicalMs(costKey, "other")).toBeCloseTo((13 * 2_000 + 5 * 50_000) / 18, 6);
  });

  it("adds a few runs by hand to the many that are known, and an older measurement not at all", async () => {
    await put({ ...MEASURED, runs: 54 });
    const few = { ...MEASURED, warmMs: 3_000, coldMs: null, runs: 4 };
    await put({ ...few, measuredAt: "2026-01-03T00:00:00.000Z" });
    expect(profiles.typicalMs(costKey, CARD)).toBeCloseTo((54 * 2_000 + 4 * 3_000) / 58, 6);
    const known = profiles.find(costKey, CARD);
    await put({ ...few, warmMs: 60_000, measuredAt: "2026-01-01T00:00:00.000Z" });
    const now = profiles.find(costKey, CARD);
    expect([now?.statistics, now?.measuredAt]).toEqual([known?.statistics, known?.measuredAt]);
  });

  it("gives its pages in order, each profile once", async () => {
    const graphs = Array.from({ length: 5 }, (_, at) => {
      const latent = { class_type: "EmptyLatentImage", inputs: { width: 64 * (at + 1) } };
      return { ...MEASURED, graph: { ...GRAPH, "5": latent } };
    });
    await put(...graphs, { ...MEASURED, gpuName: "cuda:0 Ünïcode : native" });
    const seen: string[] = [];
    let next: string | null = null;
    do {
      const cursor: string = next === null ? "" : `&cursor=${next}`;
      const page = await call("GET", `?limit=2${cursor}`);
      expect(page.status).toBe(200);
      seen.push(
        ...(page.body["items"] as readonly { costKey: string }[]).map((one) => one.costKey),
      );
      next = page.body["next"] as string | null;
    } while (next !== null);
    expect(new Set(seen).size).toBe(6);
    expect(seen).toEqual([...seen].sort((a, b) => (a < b ? -1 : 1)));
  });

  it.each([
    ["no profile", { profiles: [] }],
    ["too many", { profiles: Array.from({ length: 101 }, () => MEASURED) }],
    ["a field that is not known", { profiles: [{ ...MEASURED, warm: 1 }] }],
    ["a time below nothing", { profiles: [{ ...MEASURED, warmMs: -1 }] }],
    ["no runs", { profiles: [{ ...MEASURED, runs: 0 }] }],
    ["an instant that is none", { profiles: [{ ...MEASURED, measuredAt: "yesterday" }] }],
    ["a graph that is none", { profiles: [MEASURED, { ...MEASURED, graph: { "1": {} } }] }],
    ["the editor's format", { profiles: [{ ...MEASURED, graph: { nodes: [], links: [] } }] }],
  ])("refuses %s, and stores nothing", async (_, body) => {
    const answer = await call("PUT", "", body);
    expect(answer).toMatchObject({ status: 400, body: { error: { code: "invalid_request" } } });
    expect(await profiles.list(null, 10)).toEqual([]);
  });

  it("says which graph is wrong", async () => {
    const { body } = await put(MEASURED, { ...MEASURED, graph: { "1": {} } });
    expect(JSON.stringify(body)).toContain("profiles[1].graph: ");
  });

  it("is for operators, and takes no cursor of its own making", async () => {
    expect((await call("PUT", "", { profiles: [MEASURED] }, "user")).status).toBe(403);
    expect((await call("GET", "", undefined, "agent")).status).toBe(403);
    for (const cursor of ["x", "AAAA", Buffer.from(`${costKey}\0`).toString("base64url")]) {
      expect((await call("GET", `?cursor=${cursor}`)).body).toMatchObject({
        error: { code: "invalid_cursor" },
      });
    }
  });
});

it("keeps no more than its limit, and lets go of those unused for longest", async () => {
  await database.db.query(
    `insert into profiles (cost_key, card, shape, cost_values, models, statistics, updated_at)
     select lpad(n::text, 32, '0'), '', 's', '[]', '{}', '{}', now() - make_interval(secs => $1 - n)
     from generate_series(1, $1) n`,
    [PROFILES_MAX + 700],
  );
  expect(await profiles.prune()).toBe(500);
  expect(await profiles.prune()).toBe(200);
  expect(await profiles.prune()).toBe(0);
  const { rows } = await database.db.query("select min(cost_key) as first from profiles");
  expect(rows).toEqual([{ first: "701".padStart(32, "0") }]);
  // What this version cannot read is passed by.
  await profiles.refresh();
  expect(profiles.typicalMs("701".padStart(32, "0"))).toBeNull();
});

it("loses nothing when two replicas add to the same profile", async () => {
  const other = createProfilesService({ db: database.db, log: SILENT_LOG });
  const measured = { ...MEASURED, graph: GRAPH, measuredAt: 1 };
  await Promise.all([
    profiles.put([measured]),
    other.put([{ ...measured, gpuName: "cpu" }]),
    profiles.put([{ ...measured, longestSilenceMs: 9_000 }]),
  ]);
  await profiles.refresh();
  expect(profiles.find(costKey, CARD)?.statistics.stepSilenceMs.largest).toBe(9_000);
  expect(profiles.find(costKey, "cpu")).toBeDefined();
});
