import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SERVICE_STATES, type ServiceFacts } from "./model.ts";
import {
  decideServiceState,
  oneLine,
  REASON_MAX_CHARS,
  withDependencies,
} from "./service-state.ts";

const facts = (
  over: {
    configured?: boolean;
    installation?: ServiceFacts["installation"]["state"];
    runtime?: ServiceFacts["runtime"]["state"];
    check?: ServiceFacts["check"]["state"];
    detail?: string | null;
  } = {},
): ServiceFacts => ({
  isConfigured: over.configured ?? true,
  installation: {
    state: over.installation ?? "installed",
    detail: over.detail ?? null,
    version: "r1",
  },
  runtime: {
    state: over.runtime ?? "running",
    pid: 1,
    startedAt: 1,
    restarts: 0,
    detail: over.detail ?? null,
  },
  check: { state: over.check ?? "passing", detail: over.detail ?? null, checkedAt: 1 },
});

describe("each state is told apart, with a reason", () => {
  test.each([
    [{ configured: false }, "not_configured", "not enabled in the configuration: why"],
    [{ installation: "missing" }, "not_installed", "not installed: why"],
    [{ installation: "installing" }, "not_installed", "being installed: why"],
    [{ installation: "broken" }, "not_installed", "its installation failed: why"],
    [{ runtime: "stopped" }, "stopped", "not running: why"],
    [{ runtime: "stopping" }, "stopped", "being stopped: why"],
    [{ runtime: "crash_loop" }, "stopped", "ended too often, not started again: why"],
    [{ runtime: "starting" }, "starting", "starting: why"],
    [{ check: "pending" }, "starting", "running, not checked yet: why"],
    [
      { runtime: "elsewhere", check: "pending" },
      "starting",
      "runs elsewhere, not checked yet: why",
    ],
    [{ check: "failing" }, "unhealthy", "its check fails: why"],
    [{ runtime: "elsewhere", check: "failing" }, "unhealthy", "its check fails: why"],
    [
      { runtime: "elsewhere", check: "none" },
      "unhealthy",
      "runs elsewhere and has no check: nothing is known of it",
    ],
    [{ check: "none" }, "healthy", "running; it has no check: why"],
    [{ check: "passing" }, "healthy", "running, its check passes: why"],
    [{ runtime: "elsewhere" }, "healthy", "its check passes: why"],
    [{ installation: "none" }, "healthy", "running, its check passes: why"],
  ] as const)("%j is %s", (over, state, reason) => {
    expect(decideServiceState(facts({ ...over, detail: "why" }))).toEqual({ state, reason });
  });

  test("without a detail the reason stands alone", () => {
    expect(decideServiceState(facts({ runtime: "stopped" })).reason).toBe("not running");
    expect(decideServiceState(facts({ runtime: "stopped", detail: "  " })).reason).toBe(
      "not running",
    );
  });
});

const anyFacts = fc
  .record({
    configured: fc.boolean(),
    installation: fc.constantFrom("none", "missing", "installing", "installed", "broken"),
    runtime: fc.constantFrom(
      "stopped",
      "starting",
      "running",
      "stopping",
      "crash_loop",
      "elsewhere",
    ),
    check: fc.constantFrom("none", "pending", "passing", "failing"),
    detail: fc.option(fc.string({ unit: "binary", maxLength: 2_000 })),
  } as const)
  .map((over) => ({ over, facts: facts(over) }));

describe("whatever the facts", () => {
  test("there is one state, by the order of precedence, and a short reason in one line", () => {
    fc.assert(
      fc.property(anyFacts, ({ over, facts }) => {
        const { state, reason } = decideServiceState(facts);
        expect(SERVICE_STATES).toContain(state);
        expect(reason.length).toBeGreaterThan(0);
        expect(reason.length).toBeLessThanOrEqual(REASON_MAX_CHARS);
        // Whatever could break a line or steer a terminal.
        expect(/[\p{Cc}\u2028\u2029]/u.test(reason)).toBe(false);
        const isThere = over.installation === "none" || over.installation === "installed";
        const isEnded = ["stopped", "stopping", "crash_loop"].includes(over.runtime);
        if (!over.configured) expect(state).toBe("not_configured");
        else if (!isThere) expect(state).toBe("not_installed");
        else if (isEnded) expect(state).toBe("stopped");
        else if (over.runtime === "starting" || over.check === "pending") {
          expect(state).toBe("starting");
        } else expect(["unhealthy", "healthy"]).toContain(state);
      }),
    );
  });

  test("what runs elsewhere is never stopped, and healthy only by a check that passes", () => {
    fc.assert(
      fc.property(anyFacts, ({ over }) => {
        const { state } = decideServiceState(facts({ ...over, runtime: "elsewhere" }));
        expect(state).not.toBe("stopped");
        if (state === "healthy") expect(over.check).toBe("passing");
      }),
    );
  });
});

describe("dependencies", () => {
  test("those that are not healthy are named, those that are well are not", () => {
    expect(
      withDependencies("running", [
        { name: "redis", state: "unhealthy" },
        { name: "minio", state: "healthy" },
        { name: "db", state: "stopped" },
      ]),
    ).toBe("running; it needs redis (unhealthy), db (stopped)");
    expect(withDependencies("running", [{ name: "minio", state: "healthy" }])).toBe("running");
  });

  test("one that the reason tells of already is not told again", () => {
    expect(
      withDependencies("starting: comfyui-gpu1 is starting (its process runs)", [
        { name: "comfyui-gpu1", state: "starting" },
        { name: "comfyui-gpu10", state: "starting" },
      ]),
    ).toBe(
      "starting: comfyui-gpu1 is starting (its process runs); it needs comfyui-gpu10 (starting)",
    );
  });

  test("a text of many lines becomes one", () => {
    expect(oneLine(" a\r\n\tb\u001b[31m ")).toBe("a b [31m");
  });
});
