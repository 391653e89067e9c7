/** Every route of the whole server, called by every method. */
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startSystem, type TestSystem } from "../../../test/support/system.ts";

let system: TestSystem;
let declared: Readonly<Record<string, object>>;
beforeAll(async () => {
  system = await startSystem({ agent: false, simulators: [] });
  const document = (await (await fetch(`${system.url}/openapi.json`)).json()) as {
    paths: Readonly<Record<string, object>>;
  };
  declared = document.paths;
});
afterAll(async () => {
  await system.close();
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

const send = async (method: string, path: string, body: unknown): Promise<unknown> => {
  const answer = await fetch(`${system.url}${path}`, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const { error } = (await answer.json()) as { error?: { code: string } };
  return [answer.status, error?.code];
};

/** `fetch` refuses some methods, and normalises paths. */
const call = (method: string, path: string, headers: Record<string, string> = {}) =>
  new Promise<Answer>((resolve, reject) => {
    const request = httpRequest(`${system.url}/`, { method, path, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    request.setTimeout(10_000, () => request.destroy(new Error(`${method} ${path}: no answer`)));
    request.on("error", reject);
    request.end();
  });
const codeOf = ({ text }: Answer): unknown =>
  (JSON.parse(text) as { error: { code: string } }).error.code;

/** What is served and not part of the API's description. */
const PAGES = [
  "/",
  "/openapi.json",
  "/api/docs",
  "/api/docs/",
  "/api/docs/json",
  "/api/docs/yaml",
  "/api/docs/static/swagger-ui.css",
  "/api/docs/static/theme/docs.css",
  "/assets/live.js",
  "/assets/icon.svg",
];
const METHODS = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "TRACE", "PROPFIND", "QUERY"];

/** `/jobs/{id}/x` → `/jobs/zz/x`. */
const exampleOf = (template: string): string =>
  template.replaceAll("{*}", "pets/cat.png").replaceAll(/\{[^}]+\}/g, "zz");
const fits = (template: string, path: string): boolean => {
  const source = template
    .replaceAll(".", String.raw`\.`)
    .replaceAll("{*}", ".*")
    .replaceAll(/\{[^}]+\}/g, "[^/]+");
  return new RegExp(`^${source}$`).test(path);
};
/** The methods of all templates that a path fits: `/files/zz` is `/files/{id}` and `/files/{*}`. */
const allowedOf = (path: string): string[] => {
  const methods = new Set(["OPTIONS"]);
  for (const [template, operations] of Object.entries(declared)) {
    if (!fits(template, path)) continue;
    for (const method of Object.keys(operations)) methods.add(method.toUpperCase());
  }
  if (PAGES.includes(path)) methods.add("GET");
  if (methods.has("GET")) methods.add("HEAD");
  return [...methods].sort();
};

describe("every route", () => {
  test("is described", () => {
    expect(Object.keys(declared).length).toBeGreaterThan(35);
  });

  test("tells its methods to OPTIONS, takes those, and refuses every other with 405 and Allow", async () => {
    const paths = [...Object.keys(declared).map(exampleOf), ...PAGES];
    for (const path of paths) {
      const allow = allowedOf(path).join(", ");
      const options = await call("OPTIONS", path);
      expect([path, options.status, options.headers.allow]).toEqual([path, 204, allow]);
      for (const method of METHODS) {
        const isStream = path === "/api/v1/events" && method === "GET";
        if (isStream) continue; // It has no end.
        const answer = await call(method, path);
        const what = `${method} ${path}`;
        if (allow.split(", ").includes(method)) {
          expect(answer.status, what).not.toBe(405);
          expect(answer.text, what).not.toContain("no such route");
          continue;
        }
        expect([what, answer.status, answer.headers.allow]).toEqual([what, 405, allow]);
        if (method !== "HEAD") expect([what, codeOf(answer)]).toEqual([what, "method_not_allowed"]);
      }
    }
  });

  test("says whether the path or the method is wrong, whatever the body is", async () => {
    const broken = { "content-type": "no/such; type", "content-length": "0" };
    const wrongMethod = await call("PATCH", "/api/v1/jobs", broken);
    expect([wrongMethod.status, codeOf(wrongMethod)]).toEqual([405, "method_not_allowed"]);
    const wrongPath = await call("POST", "/api/v1/nothing", broken);
    expect([wrongPath.status, codeOf(wrongPath)]).toEqual([404, "not_found"]);
  });

  test.each([
    ["a file that is not in a folder", "/api/docs/static/nothing.js"],
    ["an unknown path", "/nothing?x=1#y"],
  ])("%s is not found, not refused", async (_name, path) => {
    const answer = await call("GET", path);
    expect([answer.status, codeOf(answer)]).toEqual([404, "not_found"]);
    expect(answer.headers.allow).toBeUndefined();
  });

  test("an escaped letter and a fragment change nothing", async () => {
    for (const path of ["/%68ealthz", "/healthz#x", "/healthz?x"]) {
      expect([path, (await call("GET", path)).status]).toEqual([path, 200]);
      expect([path, (await call("POST", path)).status]).toEqual([path, 405]);
    }
  });
});

describe("readiness", () => {
  const ask = async (query: string): Promise<readonly [number, unknown]> => {
    const answer = await call("GET", `/readyz${query}`);
    return [answer.status, JSON.parse(answer.text)];
  };

  test("wants an instance, unless that check is left out", async () => {
    expect(await ask("")).toMatchObject([503, { ready: false }]);
    expect(await ask("?exclude=hold")).toMatchObject([503, { ready: false }]);
    const [status, body] = await ask("?exclude=instance,hold");
    expect([status, body]).toMatchObject([200, { ready: true }]);
    // It counts for nothing, and is told all the same.
    expect((body as { checks: object[] }).checks).toContainEqual(
      expect.objectContaining({ name: "instance", ok: false }),
    );
  });

  test("a check that there is not is a mistake of whoever asks", async () => {
    const answer = await call("GET", "/readyz?exclude=instances");
    expect([answer.status, codeOf(answer)]).toEqual([400, "invalid_request"]);
  });
});

describe("what the database could not hold is refused with 400, not answered with 500", () => {
  const machine = { machineId: `mch_${"0".repeat(26)}`, session: 1 };
  const held = (leaseEpoch: number) => ({
    attemptId: `att_${"0".repeat(26)}`,
    jobId: `job_${"0".repeat(26)}`,
    leaseEpoch,
    phase: "running",
    progress: null,
  });
  const inventory = {
    digest: "0".repeat(64),
    nodeClasses: [],
    models: {},
    comfyuiVersion: null,
    vramTotalBytes: null,
    deviceName: null,
    simulated: true,
  };

  test.each([
    ["a NUL in a text", "POST", "/api/v1/keys", { name: "a\0b", role: "user" }],
    [
      "a NUL in a list",
      "PUT",
      "/agent/v1/inventories",
      { inventory: { ...inventory, nodeClasses: ["a\0"] }, objectInfo: {} },
    ],
    [
      "a size with a fraction",
      "PUT",
      "/agent/v1/inventories",
      { inventory: { ...inventory, vramTotalBytes: 0.5 }, objectInfo: {} },
    ],
    ["an epoch past 32 bits", "POST", "/agent/v1/renew", { ...machine, held: [held(2 ** 31)] }],
    ["a negative epoch", "POST", "/agent/v1/renew", { ...machine, held: [held(-1)] }],
    [
      "the same in a poll",
      "POST",
      "/agent/v1/poll",
      { ...machine, sequence: 1, instances: [], waitMs: 0, held: [held(2 ** 40)] },
    ],
    [
      "a session past 32 bits",
      "POST",
      "/agent/v1/renew",
      { ...machine, session: 2 ** 31, held: [] },
    ],
  ])("%s", async (_name, method, path, body) => {
    expect(await send(method, path, body)).toEqual([400, "invalid_request"]);
  });
});
