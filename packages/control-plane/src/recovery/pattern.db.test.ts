/** Custom error patterns: their API, their limits, and how replicas learn of them. */
import { parseCustomPatterns, type CustomPattern } from "@holdfast/recovery";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { TEST_ACCESS } from "../../testing/test-access.ts";
import { buildHttpServer, type HttpServer } from "../platform/http/server.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createPatternLoop } from "./pattern-loop.ts";
import { patternRoutes } from "./pattern-routes.ts";
import { createPatternService, type PatternService } from "./pattern-service.ts";

const BUSY = {
  error_type: "vendor_busy",
  patterns: ["vendor .* busy"],
  strategy: "RETRY",
  parameter_adjustments: {
    zeta: { operation: "reduce", factor: 0.5, min: 1 },
    a: { operation: "set", value: "fast" },
  },
  max_retries: 4,
};
const FILE = parsed([
  { error_type: "from_file", patterns: ["filed gizmo"], strategy: "ABORT" },
  { error_type: "other_of_file", patterns: ["other filed"], strategy: "RETRY" },
]);

function parsed(value: unknown): readonly CustomPattern[] {
  const read = parseCustomPatterns(value);
  if (read.kind === "invalid") throw new Error(JSON.stringify(read.problems));
  return read.patterns;
}

let database: TestDatabase;
let patterns: PatternService;
let changes: number;
let server: HttpServer;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
const replica = () =>
  createPatternService({
    db: database.db,
    log: SILENT_LOG,
    filePatterns: FILE,
    onChanged: () => (changes += 1),
  });
beforeEach(async () => {
  await emptyTables(database.db, ["error_patterns"]);
  changes = 0;
  patterns = replica();
  server = buildHttpServer({
    log: SILENT_LOG,
    clock: systemClock,
    ids: createIdSource(systemClock, seededRandom(5)),
    bodyLimitBytes: 1_000_000,
  });
  await server.app.register(patternRoutes, { access: TEST_ACCESS, patterns });
});
afterEach(() => server.close());

const call = async (
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  payload?: unknown,
  role = "operator",
) => {
  const answer = await server.app.inject({
    method,
    url: `/api/error-recovery/patterns${path}`,
    headers: { "x-test-caller": `key_a/${role}`, "content-type": "application/json" },
    ...(payload === undefined ? {} : { payload: JSON.stringify(payload) }),
  });
  return { status: answer.statusCode, body: answer.json<Record<string, unknown>>() };
};
const names = async () => (await patterns.list()).map(({ pattern }) => pattern.name);
const customOf = (service: PatternService, message: string) =>
  service.classify({ channel: "execution", message }).custom?.pattern;

describe("the API of custom patterns", () => {
  test("a pattern is made, shown, replaced and taken away, and counts at once", async () => {
    const made = await call("POST", "", BUSY);
    expect(made).toMatchObject({
      status: 201,
      body: { success: true, pattern: { name: "vendor_busy", ...BUSY, source: "api" } },
    });
    expect(customOf(patterns, "vendor X busy")).toBe("vendor_busy");
    const shown = await call("GET", "/vendor_busy");
    expect(shown.body["pattern"]).toEqual(made.body["pattern"]);
    const order = Object.keys((shown.body["pattern"] as typeof BUSY).parameter_adjustments);
    expect(order).toEqual(["zeta", "a"]);

    const other = { ...BUSY, patterns: ["vendor is away"] };
    expect(await call("PUT", "/vendor_busy", other)).toMatchObject({
      status: 200,
      body: { pattern: { patterns: ["vendor is away"] } },
    });
    expect(customOf(patterns, "vendor X busy")).toBeUndefined();
    expect(customOf(patterns, "vendor is away")).toBe("vendor_busy");

    expect(await call("DELETE", "/vendor_busy")).toMatchObject({
      status: 200,
      body: { success: true, removed: "vendor_busy" },
    });
    expect(customOf(patterns, "vendor is away")).toBeUndefined();
    expect((await call("GET", "/vendor_busy")).status).toBe(404);
    expect((await call("DELETE", "/vendor_busy")).status).toBe(404);
    expect(changes).toBe(3);
  });

  test("the file's patterns are listed behind those of the API, and may be covered", async () => {
    await call("POST", "", BUSY);
    expect(await names()).toEqual(["vendor_busy", "from_file", "other_of_file"]);
    expect(await call("POST", "", { ...BUSY, name: "from_file" })).toMatchObject({
      status: 409,
      body: { error: { code: "error_pattern_exists" } },
    });
    expect(await call("DELETE", "/from_file")).toMatchObject({
      status: 409,
      body: { error: { code: "error_pattern_in_file" } },
    });
    expect((await call("PUT", "/from_file", BUSY)).body).toMatchObject({
      pattern: { name: "from_file", source: "api" },
    });
    expect(customOf(patterns, "filed gizmo")).toBeUndefined();
    await call("DELETE", "/from_file");
    expect(customOf(patterns, "filed gizmo")).toBe("from_file");
    const { body } = await call("GET", "");
    expect((body["patterns"] as { source: string }[]).map((one) => one.source)).toEqual([
      "api",
      "file",
      "file",
    ]);
  });

  test.each([
    ["a bad regular expression", { ...BUSY, patterns: ["(a"] }, "patterns[0]"],
    ["an explosive one", { ...BUSY, patterns: ["(a+)+$"] }, "patterns[0]"],
    ["no regular expression", { ...BUSY, patterns: [] }, "patterns"],
    [
      "an unknown operation",
      { ...BUSY, parameter_adjustments: { p: { operation: "melt" } } },
      "parameter_adjustments.p.operation",
    ],
    ["negative retries", { ...BUSY, max_retries: -1 }, "max_retries"],
    ["an unknown field", { ...BUSY, colour: 1 }, "colour"],
  ])("%s is refused with its field, and nothing changes", async (_what, body, path) => {
    await call("POST", "", BUSY);
    for (const answer of [
      await call("POST", "", { ...body, name: "second" }),
      await call("PUT", "/vendor_busy", body),
    ]) {
      expect(answer).toMatchObject({
        status: 422,
        body: { error: { code: "error_pattern_invalid", details: { problems: [{ path }] } } },
      });
    }
    expect(await names()).toEqual(["vendor_busy", "from_file", "other_of_file"]);
    expect(customOf(patterns, "vendor X busy")).toBe("vendor_busy");
  });

  test("a name that is taken, or other than the address, is refused", async () => {
    await call("POST", "", BUSY);
    expect((await call("POST", "", BUSY)).status).toBe(409);
    expect(await call("PUT", "/vendor_busy", { ...BUSY, name: "else" })).toMatchObject({
      status: 422,
      body: { error: { message: expect.stringContaining("as in the address") as string } },
    });
    expect((await call("PUT", "/Not%20Snake", BUSY)).status).toBe(422);
  });

  test("what is no object, or too large, is refused", async () => {
    expect((await call("POST", "", [BUSY])).status).toBe(400);
    const large = { ...BUSY, patterns: ["x".repeat(200_000)] };
    expect((await call("POST", "", large)).status).toBe(413);
  });

  test("the list ends at 200, the file's included, whoever comes first", async () => {
    await database.db.query(
      `insert into error_patterns (name, spec)
       select 'p' || n, json_build_object('error_type', 'p' || n, 'strategy', 'RETRY',
         'patterns', json_build_array('gizmo number ' || n))
       from generate_series(1, 196) n`,
    );
    const answers = await Promise.all(
      [1, 2, 3, 4].map((n) => call("POST", "", { ...BUSY, name: `last${n}` })),
    );
    expect(answers.map(({ status }) => status).sort((a, b) => a - b)).toEqual([201, 201, 422, 422]);
    expect(await names()).toHaveLength(200);
    expect(JSON.stringify(answers.map(({ body }) => body))).toContain(
      "expected at most 200 patterns, found 201",
    );
  });

  test("operators and administrators may, nobody else", async () => {
    for (const role of ["user", "agent"]) {
      expect((await call("GET", "", undefined, role)).status).toBe(403);
      expect((await call("POST", "", BUSY, role)).status).toBe(403);
      expect((await call("PUT", "/a", BUSY, role)).status).toBe(403);
      expect((await call("DELETE", "/a", undefined, role)).status).toBe(403);
      expect((await call("GET", "/a", undefined, role)).status).toBe(403);
    }
    expect((await call("POST", "", BUSY, "admin")).status).toBe(201);
  });
});

describe("other replicas", () => {
  test("know what was written when they are told, or look by themselves", async () => {
    const other = replica();
    await other.refresh();
    const loop = createPatternLoop({
      clock: systemClock,
      random: seededRandom(1),
      log: SILENT_LOG,
      patterns: other,
    });
    await loop.start();
    try {
      await call("POST", "", BUSY);
      loop.wake();
      await expect.poll(() => customOf(other, "vendor X busy")).toBe("vendor_busy");
      await call("DELETE", "/vendor_busy");
      loop.wake();
      await expect.poll(() => customOf(other, "vendor X busy")).toBeUndefined();
    } finally {
      await loop.stop();
    }
  });

  test("leave out a pattern that a newer version wrote, and keep the others", async () => {
    await call("POST", "", BUSY);
    await database.db.query(
      `insert into error_patterns (name, spec) values ('newer', '{"error_type": "newer", "telepathy": 1}')`,
    );
    await patterns.refresh();
    expect(customOf(patterns, "vendor X busy")).toBe("vendor_busy");
    expect(await names()).toEqual(["vendor_busy", "from_file", "other_of_file"]);
  });
});
