import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { createAskService, knownService, parseServices, withKey } from "./services.ts";

const probeMlflow = async () => ({ kind: "http_status", status: 403 }) as const;
const NEVER = new AbortController().signal;
const service = { name: "ComfyUI", url: "http://comfy:8188/system_stats" };

describe("--services", () => {
  it("asks known services where their health is, and others as they are written", () => {
    expect(parseServices("comfyui=http://a:8188/, MinIO=http://b:9000,gate=http://c/up")).toEqual({
      kind: "ok",
      services: [
        { name: "ComfyUI", url: "http://a:8188/system_stats" },
        { name: "MinIO", url: "http://b:9000/minio/health/live" },
        { name: "gate", url: "http://c/up" },
      ],
    });
    expect(parseServices("none")).toEqual({ kind: "ok", services: [] });
    expect(parseServices("comfyui=http://a/behind/proxy")).toMatchObject({
      services: [{ url: "http://a/behind/proxy" }],
    });
  });

  it.each(["", "comfyui", "comfyui=", "comfyui=ftp://a", "=http://a", "a=http://a,a=http://b"])(
    "refuses %j with words",
    (text) => {
      const parsed = parseServices(text);
      expect(parsed.kind === "bad" && parsed.message).toMatch(/^--services: /);
    },
  );
});

describe("a service that is asked", () => {
  const asking = (fetchIt: typeof fetch, clock = createFakeClock()) => ({
    clock,
    ask: createAskService(clock, { fetchIt, probeMlflow }),
  });

  it("is healthy with 200 alone", async () => {
    const answers = [200, 204, 302, 404, 503].map(
      (status) => async () => new Response(null, { status }),
    );
    const found = [];
    for (const answer of answers) found.push(await asking(answer).ask(service, 5_000, NEVER));
    expect(found).toEqual([
      { kind: "ok" },
      { kind: "ok" },
      { kind: "http_status", status: 302 },
      { kind: "http_status", status: 404 },
      { kind: "http_status", status: 503 },
    ]);
  });

  it("that does not answer in time has timed out, whatever else it does then", async () => {
    const { ask, clock } = asking(
      (_url, init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
        }),
    );
    const asked = ask(service, 5_000, NEVER);
    await clock.advance(5_000);
    expect(await asked).toEqual({ kind: "timed_out", afterMs: 5_000 });
    expect(clock.sleeperCount()).toBe(0);
  });

  it("that cannot be reached is unreachable, and leaves no timer", async () => {
    const { ask, clock } = asking(() => Promise.reject(new TypeError("fetch failed")));
    expect(await ask(service, 5_000, NEVER)).toEqual({ kind: "unreachable" });
    expect(clock.sleeperCount()).toBe(0);
  });

  it("is given up when somebody stops the experiment", async () => {
    const { ask } = asking(
      (_url, init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
        }),
    );
    const stop = new AbortController();
    const asked = ask(service, 5_000, stop.signal);
    stop.abort(new Error("Ctrl-C"));
    await expect(asked).rejects.toThrow("Ctrl-C");
  });

  it("gets user and password of its address as a header", async () => {
    let seen: { url: string; authorization: string | null } | undefined;
    const { ask } = asking(async (url, init) => {
      const headers = new Headers(init?.headers);
      seen = { url: String(url), authorization: headers.get("authorization") };
      return new Response();
    });
    await ask(knownService("minio", "http://me:p%40ss@b:9000"), 5_000, NEVER);
    expect(seen).toEqual({
      url: "http://b:9000/minio/health/live",
      authorization: `Basic ${Buffer.from("me:p@ss").toString("base64")}`,
    });
  });

  it("is asked what needs its key where it is the Holdfast that renders", async () => {
    const seen: [string, string | null][] = [];
    const asked = async (apiKey: string | undefined, status: number) => {
      const { ask } = asking(async (url, init) => {
        const isReady = String(url).endsWith("/readyz");
        seen.push([String(url), new Headers(init?.headers).get("authorization")]);
        return new Response(null, { status: isReady ? 200 : status });
      });
      const [service] = withKey([knownService("holdfast", "http://h:8328")], {
        baseUrl: "http://h:8328",
        apiKey,
      });
      return service === undefined ? undefined : await ask(service, 5_000, NEVER);
    };
    expect(await asked(undefined, 401)).toEqual({
      kind: "refused",
      status: 401,
      advice: "set HOLDFAST_API_KEY, or use --api-key",
    });
    expect(await asked("hf_agent", 403)).toMatchObject({ kind: "refused", status: 403 });
    expect(await asked("hf_one", 200)).toEqual({ kind: "ok" });
    expect(await asked("hf_one", 503)).toEqual({ kind: "http_status", status: 503 });
    expect(seen[0]).toEqual(["http://h:8328/readyz", null]);
    expect(seen[5]).toEqual(["http://h:8328/api/v1/jobs?limit=1", "Bearer hf_one"]);
  });

  it("never gets a key that is another's", () => {
    const services = [
      knownService("holdfast", "http://other"),
      knownService("comfyui", "http://h"),
    ];
    expect(withKey(services, { baseUrl: "http://h", apiKey: "hf_one" })).toEqual(services);
  });

  it("is asked by a call where it is MLflow", async () => {
    const { ask } = asking(async () => new Response());
    const mlflow = knownService("mlflow", "http://m:5000");
    expect(await ask(mlflow, 5_000, NEVER)).toEqual({ kind: "http_status", status: 403 });
  });
});
