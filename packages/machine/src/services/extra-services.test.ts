import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { manifestSchema } from "../manifest/model.ts";
import type { ManagedProcess, ProcessManager } from "../process-manager/model.ts";
import type { ProbeOutcome } from "./check-decision.ts";
import { createExtraServices } from "./extra-services.ts";
import { createServiceRegistry } from "./service-registry.ts";

const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

const setUp = (services: readonly Record<string, unknown>[], fails: readonly string[] = []) => {
  const clock = createFakeClock();
  const calls: string[] = [];
  const processes = new Map<string, ManagedProcess>();
  /** What lives on from before. */
  const left = new Set<string>();
  let pid = 100;
  const manager: ProcessManager = {
    ensureReady: async () => undefined,
    list: async () => [...processes.values()],
    start: async ({ name, digest }) => {
      calls.push(`start ${name}`);
      const process: ManagedProcess = {
        name,
        digest,
        state: "online",
        pid: (pid += 1),
        startedAt: 0,
        exitCode: null,
      };
      processes.set(name, process);
      return process;
    },
    remove: async (name, signal) => {
      calls.push(`remove ${name}`);
      await clock.sleep(1_000, signal);
      if (fails.includes(name)) throw new Error(`cannot remove ${name}`);
      calls.push(`removed ${name}`);
      left.delete(name);
      processes.delete(name);
    },
    reopenLogs: async () => undefined,
    kill: async () => undefined,
  };
  const registry = createServiceRegistry({ clock, log });
  const outcomes = new Map<string, ProbeOutcome>();
  const extra = createExtraServices({
    services: parse(services),
    probe: async ({ url }) => outcomes.get(url) ?? { kind: "failed", detail: "refused" },
    manager,
    host: {
      findCommand: async (path) => ({ kind: "found", path }),
      makeFolder: async () => undefined,
      startTime: async () => "t",
      isSame: async () => true,
      end: async () => undefined,
    },
    clock,
    random: seededRandom(1),
    log,
    folder: "/s",
    baseEnv: {},
    livingNames: async () => [...left, ...processes.keys()],
    isAnothers: (name) => name.startsWith("comfyui-"),
    stateOf: (name) => registry.report(name)?.state,
    onChange: () => registry.touch(),
  });
  registry.replace(extra.sources());
  const states = () => Object.fromEntries(registry.reports().map((one) => [one.name, one.state]));
  return { clock, calls, registry, extra, outcomes, states, left };
};
const parse = (services: readonly Record<string, unknown>[]) =>
  manifestSchema.parse({ version: 1, services }).services;
const process = { command: ["/bin/x"] };

test("each kind of service reaches its state, and disabled ones are not configured", async () => {
  const { clock, calls, extra, outcomes, states, registry } = setUp([
    { name: "web", process, dependsOn: ["db"] },
    { name: "db", process },
    { name: "minio", check: { url: "http://minio/", everySec: 15 } },
    { name: "off", enabled: false, process },
    { name: "off-check", enabled: false, check: { url: "http://off/" } },
    { name: "blind" },
  ]);
  expect(states()).toMatchObject({ web: "stopped", minio: "starting", off: "not_configured" });
  await extra.start();
  await clock.advance(30_000);
  expect(states()).toEqual({
    web: "healthy",
    db: "healthy",
    minio: "unhealthy",
    off: "not_configured",
    "off-check": "not_configured",
    blind: "unhealthy",
  });
  expect(calls).toEqual(["start db", "start web"]);
  expect(registry.report("minio")?.reason).toMatch(/its check fails: refused/);
  expect(registry.report("off")).toMatchObject({ kind: "process" });
  expect(registry.report("off-check")).toMatchObject({ kind: "check" });
  outcomes.set("http://minio/", { kind: "passed", detail: "HTTP 200" });
  await clock.advance(15_000);
  expect(states()["minio"]).toBe("healthy");
  await extra.letGo();
  expect(clock.sleeperCount()).toBe(0);
  expect(calls).toHaveLength(2);
});

test("stopping ends what nothing needs first, and what it needs once that has ended", async () => {
  const { clock, calls, extra } = setUp([
    { name: "db", process },
    { name: "web", process, dependsOn: ["cache"] },
    { name: "cache", process, dependsOn: ["db"] },
    { name: "other", process, dependsOn: ["db"] },
  ]);
  await extra.start();
  await clock.advance(10_000);
  calls.length = 0;
  const stopping = extra.stop();
  await clock.advance(5_000);
  await stopping;
  expect(calls.slice(0, 2)).toEqual(["remove web", "removed web"]);
  expect(calls.slice(2, 4).toSorted()).toEqual(["remove cache", "remove other"]);
  expect(calls.slice(-2)).toEqual(["remove db", "removed db"]);
});

test("one that cannot be stopped does not keep the others running", async () => {
  const { clock, calls, extra } = setUp(
    [
      { name: "db", process },
      { name: "web", process, dependsOn: ["db"] },
    ],
    ["web"],
  );
  await extra.start();
  await clock.advance(10_000);
  const failure = extra.stop().catch((error: unknown) => String(error));
  await clock.advance(5_000);
  expect(await failure).toContain("web could not be stopped: cannot remove web");
  expect(calls).toContain("removed db");
});

test("another manifest ends what is gone or changed, starts what is new, and leaves the rest alone", async () => {
  const { clock, calls, extra, registry, states } = setUp([
    { name: "web", process, dependsOn: ["db"] },
    { name: "db", process },
    { name: "old", process },
  ]);
  await extra.start();
  await clock.advance(10_000);
  registry.replace(extra.sources());
  calls.length = 0;
  const replacing = extra.replace(
    parse([
      { name: "db", process },
      { name: "web", process: { command: ["/bin/y"] }, dependsOn: ["db"] },
      { name: "new", process },
    ]),
  );
  registry.replace(extra.sources());
  expect(states()["db"]).toBe("healthy");
  await clock.advance(20_000);
  await replacing;
  expect(calls.filter((call) => call.startsWith("remove ")).toSorted()).toEqual([
    "remove old",
    "remove web",
  ]);
  expect(calls.filter((call) => call.startsWith("start")).toSorted()).toEqual([
    "start new",
    "start web",
  ]);
  expect(states()).toEqual({ db: "healthy", web: "healthy", new: "healthy" });
  expect(registry.transitions("db").map(({ to }) => to)).toEqual([
    "stopped",
    "starting",
    "healthy",
  ]);
  await extra.letGo();
  expect(clock.sleeperCount()).toBe(0);
});

test("what could not be ended is told, and the new ones run all the same", async () => {
  const { clock, calls, extra } = setUp([{ name: "old", process }], ["old"]);
  await extra.start();
  await clock.advance(10_000);
  const failure = extra
    .replace(parse([{ name: "new", process }]))
    .catch((error: unknown) => String(error));
  await clock.advance(10_000);
  expect(await failure).toContain("old could not be stopped");
  expect(calls).toContain("start new");
  await extra.letGo();
});

test("before the start and after the end nothing is run for another manifest", async () => {
  const { clock, calls, extra } = setUp([{ name: "a", process }]);
  await extra.replace(parse([{ name: "b", process }]));
  await clock.advance(10_000);
  expect(calls).toEqual([]);
  await extra.start();
  await extra.letGo();
  calls.length = 0;
  await extra.replace(parse([{ name: "c", process }]));
  await clock.advance(10_000);
  expect(calls).toEqual([]);
});

test("processes of services that were taken out while no agent ran are ended, and nobody else's", async () => {
  const { clock, calls, extra, left } = setUp([
    { name: "db", process },
    { name: "off", enabled: false, process },
  ]);
  for (const name of ["gone", "off", "comfyui-gpu0"]) left.add(name);
  await extra.start();
  await clock.advance(5_000);
  expect(calls.filter((call) => call.startsWith("removed"))).toEqual([
    "removed gone",
    "removed off",
  ]);
  expect(left).toEqual(new Set(["comfyui-gpu0"]));
  await extra.letGo();
  expect(clock.sleeperCount()).toBe(0);
});

test("what could not be ended is tried again, until the services are let go", async () => {
  const fails = ["gone"];
  const { clock, calls, extra, left } = setUp([], fails);
  left.add("gone");
  await extra.start();
  await clock.advance(60_000);
  const tries = calls.filter((call) => call === "remove gone").length;
  expect(tries).toBeGreaterThan(2);
  fails.pop();
  await clock.advance(300_000);
  expect(left.size).toBe(0);
  left.add("gone");
  await extra.replace([]);
  await extra.letGo();
  expect(clock.sleeperCount()).toBe(0);
});
