import { expect, test } from "vitest";
import { gpuPlan } from "../../testing/instance-facts.ts";
import { machinePlaces } from "../machine-places.ts";
import type { InstallationStatus, RuntimeStatus } from "../services/model.ts";
import { createInstanceServices, togetherOf } from "./instance-services.ts";
import type { InstanceStatus } from "./supervisor-status.ts";

const installed: InstallationStatus = { state: "installed", detail: null, version: "r1" };

const status = (
  index: number,
  runtime: RuntimeStatus["state"] = "running",
  check: InstanceStatus["check"]["state"] = "passing",
  detail: string | null = null,
): InstanceStatus => ({
  name: `comfyui-gpu${index}`,
  url: `http://127.0.0.1:${8_188 + index}`,
  port: 8_188,
  plan: gpuPlan(index),
  runtime: { state: runtime, pid: 100 + index, startedAt: 1_000 + index, restarts: 1, detail },
  check: { state: check, detail: null, checkedAt: 5_000 + index },
  digest: "r1-a",
  isCurrent: true,
  isManaged: true,
  memoryBytes: null,
  draining: null,
  blocked: null,
  isHindered: false,
  nextStartAt: null,
  exits: [],
});
const services = (
  all: InstanceStatus[],
  isConfigured = true,
): ReturnType<typeof createInstanceServices> =>
  createInstanceServices({
    places: machinePlaces("/srv/machine"),
    isConfigured: () => isConfigured,
    installation: () => installed,
    statuses: () => all,
    status: (name) => all.find((one) => one.name === name),
    dependsOn: ["installer"],
  });

test("each instance is a service, the same one each time, gone with the instance", () => {
  const all = [status(0), status(1)];
  const made = services(all);
  const [first, second] = made.instances();
  expect(made.instances()[0]).toBe(first);
  expect(first?.facts()).toEqual({
    isConfigured: true,
    installation: installed,
    runtime: all[0]?.runtime,
    check: all[0]?.check,
  });
  expect(first?.dependsOn).toEqual(["installer"]);
  expect(first?.details()).toMatchObject({ port: 8_188, gpu: { uuid: "GPU-00000000" } });
  expect(first?.logFiles()).toEqual([
    "/srv/machine/instances/comfyui-gpu0/logs/out.log",
    "/srv/machine/instances/comfyui-gpu0/logs/error.log",
  ]);
  all.pop();
  expect(made.instances()).toHaveLength(1);
  expect(second?.facts().runtime).toMatchObject({
    state: "stopped",
    detail: "it is no longer in the plan",
  });
  expect(second?.details()).toEqual({});
});

test("comfyui is all of them: well only when each is, and those that are not are named", () => {
  const all = [status(0), status(1, "crash_loop", "pending", "it failed 5 times"), status(2)];
  const { aggregate } = services(all);
  expect(aggregate).toMatchObject({
    name: "comfyui",
    kind: "comfyui",
    dependsOn: ["comfyui-gpu0", "comfyui-gpu1", "comfyui-gpu2"],
  });
  expect(aggregate.facts()).toMatchObject({
    isConfigured: true,
    runtime: { state: "running", restarts: 3, startedAt: 1_000, pid: null },
    check: {
      state: "failing",
      detail: "comfyui-gpu1 is in a crash loop (it failed 5 times)",
      checkedAt: 5_002,
    },
  });
  expect(aggregate.details()).toMatchObject({ planned: 3, healthy: 2, crashLoop: 1, starting: 0 });
  expect(aggregate.logFiles()).toHaveLength(6);
  all.splice(1, 1);
  expect(aggregate.facts().check).toEqual({ state: "passing", detail: null, checkedAt: 5_002 });
});

test("without instances it is stopped, and says why", () => {
  expect(togetherOf([], null).runtime).toMatchObject({
    state: "stopped",
    detail: "no instance is planned",
  });
  expect(togetherOf([], "GPU 7 does not exist").runtime.detail).toBe("GPU 7 does not exist");
  expect(services([], false).aggregate.facts().isConfigured).toBe(false);
});

test("one that is not planned, though it is asked for, keeps the whole from being well", () => {
  const told = togetherOf([status(0)], "there is no GPU 7 here");
  expect(told.check).toMatchObject({ state: "failing", detail: "there is no GPU 7 here" });
  expect(told.runtime.state).toBe("running");
  const both = togetherOf([status(0), status(1, "running", "failing")], "there is no GPU 7 here");
  expect(both.check.detail).toBe("there is no GPU 7 here; comfyui-gpu1 is unhealthy");
});

test("on the first start nothing has failed yet", () => {
  const starting = [status(0, "starting", "pending"), status(1, "starting", "pending")];
  expect(togetherOf(starting, null)).toMatchObject({
    runtime: { state: "starting" },
    check: { state: "pending" },
  });
  const [one] = starting;
  if (one === undefined) throw new Error("no instance");
  expect(togetherOf([one, status(1)], null)).toMatchObject({
    runtime: { state: "running" },
    check: { state: "pending", detail: "comfyui-gpu0 is starting" },
  });
});

test("the best runtime of all is the one told, with every other named", () => {
  const told = (...states: RuntimeStatus["state"][]): unknown =>
    togetherOf(
      states.map((state, index) => status(index, state, "pending")),
      null,
    ).runtime;
  expect(told("stopped", "crash_loop")).toMatchObject({
    state: "crash_loop",
    detail: "comfyui-gpu0 is stopped; comfyui-gpu1 is in a crash loop",
  });
  expect(told("stopped", "stopping")).toMatchObject({ state: "stopping" });
  expect(told("stopped")).toMatchObject({ state: "stopped" });
  expect(togetherOf([status(0, "running", "failing")], null).check.detail).toBe(
    "comfyui-gpu0 is unhealthy",
  );
});

test.each(["passing", "failing"] as const)(
  "one that is being ended for its next start (%s) makes ComfyUI neither ill nor whole",
  (check) => {
    expect(togetherOf([status(0, "stopping", check), status(1)], null)).toMatchObject({
      runtime: { state: "running" },
      check: { state: "pending", detail: "comfyui-gpu0 is stopping" },
    });
  },
);
