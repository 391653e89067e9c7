import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, test } from "vitest";
import { notConfiguredSource } from "./fixed-facts.ts";
import type { ServiceFacts, ServiceSource } from "./model.ts";
import { createServiceRegistry, type ServiceChange } from "./service-registry.ts";
import type { ServiceTransitionEntry } from "./transition-history.ts";

const errors: string[] = [];
const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: (_fields: unknown, message: string) => void errors.push(message),
};

interface Puppet extends ServiceSource {
  runtime: ServiceFacts["runtime"]["state"];
  looks: number;
}

const puppet = (name: string, over: Partial<ServiceSource> = {}): Puppet => {
  const source: Puppet = {
    name,
    kind: "process",
    dependsOn: [],
    runtime: "running",
    looks: 0,
    facts() {
      source.looks += 1;
      return {
        isConfigured: true,
        installation: { state: "none", detail: null, version: null },
        runtime: { state: source.runtime, pid: null, startedAt: null, restarts: 0, detail: null },
        check: { state: "none", detail: null, checkedAt: null },
      };
    },
    details: () => ({ port: 1 }),
    logFiles: () => [`/logs/${name}.log`],
    ...over,
  };
  return source;
};

const setUp = (restored: readonly ServiceTransitionEntry[] = []) => {
  const clock = createFakeClock(1_000);
  const written: ServiceTransitionEntry[] = [];
  const registry = createServiceRegistry({
    clock,
    log,
    journal: {
      restored,
      append: (entry) => void written.push(entry),
      flush: () => Promise.resolve(),
    },
  });
  const changes: ServiceChange[] = [];
  registry.subscribe((change) => void changes.push(change));
  return { clock, registry, changes, written };
};

describe("what is told of services", () => {
  test("a service is reported with its state, its facts and what it needs", () => {
    const { registry } = setUp();
    registry.add(puppet("web", { dependsOn: ["db", "ghost"] }));
    const db = puppet("db");
    db.runtime = "stopped";
    registry.add(db);
    expect(registry.report("web")).toMatchObject({
      name: "web",
      state: "healthy",
      reason: "running; it has no check; it needs db (stopped), ghost (not_configured)",
      since: 1_000,
      dependencies: [
        { name: "db", state: "stopped" },
        { name: "ghost", state: "not_configured" },
      ],
      details: { port: 1 },
      transitions: [{ at: 1_000, from: null, to: "healthy" }],
    });
    expect(registry.summary()).toMatchObject({ state: "degraded", isReady: false });
    expect(registry.logFiles("db")).toEqual(["/logs/db.log"]);
    expect(registry.logFiles("ghost")).toBeUndefined();
    expect(registry.report("ghost")).toBeUndefined();
  });

  test("a source that throws is unhealthy with the reason, and harms no other", () => {
    const { registry } = setUp();
    const broken = puppet("broken", {
      facts: () => {
        throw new Error("no facts today");
      },
      logFiles: () => {
        throw new Error("nor logs");
      },
    });
    registry.replace([broken, puppet("well")]);
    expect(registry.report("broken")).toMatchObject({
      state: "unhealthy",
      reason: "its facts cannot be read: no facts today",
    });
    expect(registry.report("well")?.state).toBe("healthy");
    expect(registry.logFiles("broken")).toEqual([]);
  });

  test("an unconfigured machine is not ready", () => {
    const { registry } = setUp();
    registry.add(notConfiguredSource("comfyui", "comfyui", "there is no manifest"));
    expect(registry.report("comfyui")).toMatchObject({
      state: "not_configured",
      reason: "not enabled in the configuration: there is no manifest",
    });
    expect(registry.summary()).toMatchObject({ state: "not_configured", isReady: false });
  });

  test("reading looks at no source", () => {
    const { registry } = setUp();
    const a = puppet("a");
    registry.add(a);
    const looks = a.looks;
    for (let n = 0; n < 100; n += 1) {
      registry.reports();
      registry.summary();
      registry.report("a");
      registry.transitions("a");
    }
    expect(a.looks).toBe(looks);
  });
});

describe("changes", () => {
  test("a transition is in the history, in the journal and told, in the report that is told", () => {
    const { registry, changes, written } = setUp();
    const a = puppet("a");
    registry.add(a);
    a.runtime = "crash_loop";
    registry.touch();
    expect(registry.transitions("a").map(({ to }) => to)).toEqual(["healthy", "stopped"]);
    expect(written.map(({ service, to }) => [service, to])).toEqual([
      ["a", "healthy"],
      ["a", "stopped"],
    ]);
    expect(changes).toMatchObject([
      { kind: "transition", transition: { to: "healthy" } },
      { kind: "transition", transition: { to: "stopped" }, report: { state: "stopped" } },
    ]);
  });

  test("sources are looked at at their pace, and at once when a change is told", async () => {
    const { clock, registry, changes } = setUp();
    const a = puppet("a");
    registry.add(a);
    await registry.start();
    await clock.advance(60);
    a.runtime = "stopped";
    registry.touch();
    await clock.advance(0);
    expect(registry.report("a")?.state).toBe("stopped");
    a.runtime = "starting"; // Told by nobody.
    await clock.advance(900);
    expect(registry.report("a")?.state).toBe("stopped");
    await clock.advance(200);
    expect(registry.report("a")?.state).toBe("starting");
    expect(changes).toHaveLength(3);
    await registry.stop();
    expect(clock.sleeperCount()).toBe(0);
  });

  test("a flood of changes costs one look a rest", async () => {
    const { clock, registry } = setUp();
    const a = puppet("a");
    registry.add(a);
    await registry.start();
    const before = a.looks;
    for (let ms = 0; ms < 1_000; ms += 1) {
      registry.touch();
      await clock.advance(1);
    }
    expect(a.looks - before).toBeLessThanOrEqual(22);
    expect(a.looks - before).toBeGreaterThan(15);
    await registry.stop();
  });

  test("a listener that throws keeps nobody else from being told", () => {
    const { registry, changes } = setUp();
    const stop = registry.subscribe(() => {
      throw new Error("listener");
    });
    const later: string[] = [];
    registry.subscribe((change) => void later.push(change.kind));
    registry.add(puppet("a"));
    expect([changes.length, later.length]).toEqual([1, 1]);
    expect(errors).toContain("a listener of service changes failed");
    stop();
    errors.length = 0;
    registry.add(puppet("b"));
    expect(errors).toEqual([]);
  });
});

describe("coming and going", () => {
  test("replaced services keep their history, removed ones are told", () => {
    const { registry, changes } = setUp();
    registry.replace([puppet("a"), puppet("b")]);
    const a = puppet("a");
    a.runtime = "starting";
    registry.replace([a]);
    expect(registry.reports().map(({ name }) => name)).toEqual(["a"]);
    expect(registry.transitions("a").map(({ to }) => to)).toEqual(["healthy", "starting"]);
    expect(changes.at(-1)).toEqual({ kind: "removed", name: "b" });
    registry.remove("nothing");
    registry.remove("a");
    expect(registry.reports()).toEqual([]);
  });

  test("two of one name, or too many, are refused and change nothing", () => {
    const { registry } = setUp();
    registry.add(puppet("a"));
    expect(() => registry.add(puppet("a"))).toThrow(/two services are called a/);
    expect(() => registry.replace([puppet("x"), puppet("x")])).toThrow(/two services/);
    const many = Array.from({ length: 301 }, (_, n) => puppet(`s${n}`));
    expect(() => registry.replace(many)).toThrow(/at most 300/);
    expect(registry.reports().map(({ name }) => name)).toEqual(["a"]);
  });

  test("what was before a restart goes on", () => {
    const { registry, written } = setUp([
      { service: "a", at: 7, from: "starting", to: "healthy", reason: "r" },
      { service: "b", at: 8, from: "starting", to: "healthy", reason: "r" },
    ]);
    const b = puppet("b");
    b.runtime = "stopped";
    registry.replace([puppet("a"), b]);
    expect(registry.report("a")).toMatchObject({ since: 7, transitions: [{ at: 7 }] });
    expect(written).toMatchObject([{ service: "b", from: "healthy", to: "stopped", at: 1_000 }]);
  });
});
