import type { V1Pod, V1PodStatus } from "@kubernetes/client-node";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { endedAt, machineOfPod } from "./pod-state.ts";
import { kubernetesSettingsSchema } from "./settings.ts";

const SETTINGS = kubernetesSettingsSchema.parse({ image: "x", scheduleTimeoutSec: 120 });
const MADE = new Date("2026-11-27T19:00:00Z");
const NOW = MADE.getTime() + 300_000;
const at = (sec: number): Date => new Date(MADE.getTime() + sec * 1_000);

function podWith(
  status: V1PodStatus,
  more: { readonly nodeName?: string; readonly deletionTimestamp?: Date } = {},
): V1Pod {
  const { nodeName, deletionTimestamp } = more;
  return {
    metadata: {
      name: "m-1",
      creationTimestamp: MADE,
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
    },
    spec: { containers: [], ...(nodeName === undefined ? {} : { nodeName }) },
    status,
  };
}

const look = (pod: V1Pod, now = NOW) => {
  const { state, reason, isUnplaced } = machineOfPod(pod, SETTINGS, now);
  return { state, reason, isUnplaced };
};
const container = (state: object, ready = false) => ({
  name: "agent",
  image: "x",
  imageID: "x",
  ready,
  restartCount: 0,
  state,
});
const running = container({ running: { startedAt: at(30) } }, true);
const unschedulable = (sec: number) => ({
  type: "PodScheduled",
  status: "False",
  reason: "Unschedulable",
  message: "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
  lastTransitionTime: at(sec),
});

describe("a pod that waits", () => {
  test("for a scheduler that has not looked yet, and is unplaced when none ever does", () => {
    const pod = podWith({ phase: "Pending" });
    const reason = "no scheduler has looked at it yet";
    expect(look(pod, at(119).getTime())).toEqual({ state: "pending", reason, isUnplaced: false });
    expect(look(pod, at(120).getTime())).toEqual({ state: "pending", reason, isUnplaced: true });
  });

  test("for a node, with the scheduler's words, and is unplaced after its time", () => {
    const pod = podWith({ phase: "Pending", conditions: [unschedulable(60)] });
    const reason = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.";
    expect(look(pod, at(179).getTime())).toEqual({ state: "pending", reason, isUnplaced: false });
    expect(look(pod, at(180).getTime())).toEqual({ state: "pending", reason, isUnplaced: true });
  });

  test("for a queue of the cluster's", () => {
    const gated = {
      ...unschedulable(0),
      reason: "SchedulingGated",
      message: "Scheduling is blocked",
    };
    expect(look(podWith({ phase: "Pending", conditions: [gated] }))).toEqual({
      state: "pending",
      reason: "SchedulingGated: Scheduling is blocked",
      isUnplaced: true,
    });
  });

  test.each([
    ["ImagePullBackOff", 'Back-off pulling image "registry/agent:1"'],
    ["ErrImagePull", "401 Unauthorized"],
    ["InvalidImageName", "couldn't parse image name"],
    ["CreateContainerConfigError", 'secret "m-1" not found'],
    ["ContainerCreating", undefined],
  ])("on its node: %s, which is no lack of room", (reason, message) => {
    const waiting = { reason, ...(message === undefined ? {} : { message }) };
    const conditions = [{ type: "PodScheduled", status: "True", lastTransitionTime: at(1) }];
    const status = { phase: "Pending", conditions, containerStatuses: [container({ waiting })] };
    expect(look(podWith(status, { nodeName: "n" }))).toEqual({
      state: "pending",
      reason: message === undefined ? reason : `${reason}: ${message}`,
      isUnplaced: false,
    });
  });

  test("on its node, of which nothing was heard yet", () => {
    const conditions = [{ type: "PodScheduled", status: "True", lastTransitionTime: at(1) }];
    expect(look(podWith({ phase: "Pending", conditions }, { nodeName: "n" }))).toEqual({
      state: "pending",
      reason: null,
      isUnplaced: false,
    });
    expect(look(podWith({ phase: "Pending", conditions })).isUnplaced).toBe(false);
  });
});

describe("a pod that runs", () => {
  const ready = { type: "Ready", status: "True", lastTransitionTime: at(40) };

  test("has nothing to say", () => {
    const status = {
      phase: "Running",
      conditions: [ready],
      containerStatuses: [running],
      podIP: "10.0.0.7",
    };
    expect(machineOfPod(podWith(status, { nodeName: "n" }), SETTINGS, NOW)).toEqual({
      ref: "m-1",
      name: "m-1",
      state: "running",
      reason: null,
      isUnplaced: false,
      offer: { gpuType: null, zone: null, isSpot: false },
      pricePerHour: null,
      address: "10.0.0.7",
      createdAt: MADE.getTime(),
    });
  });

  test.each([
    [
      "the node's silence is marked",
      {
        phase: "Running",
        conditions: [{ ...ready, status: "False" }],
        containerStatuses: [running],
      },
      "NodeNotReady: its node does not answer",
    ],
    ["its phase is not known", { phase: "Unknown" }, "NodeLost: its node does not answer"],
    [
      "the node was lost",
      {
        phase: "Running",
        reason: "NodeLost",
        message: "Node n which was running pod m-1 is unresponsive",
      },
      "NodeLost: Node n which was running pod m-1 is unresponsive",
    ],
  ] as const)("on a lost node: %s", (_, status, reason) => {
    expect(look(podWith({ ...status } as V1PodStatus, { nodeName: "n" }))).toEqual({
      state: "running",
      reason,
      isUnplaced: false,
    });
  });

  test("is not on a lost node because it starts", () => {
    const conditions = [{ ...ready, status: "False", reason: "ContainersNotReady" }];
    const status = {
      phase: "Running",
      conditions,
      containerStatuses: [{ ...running, ready: false }],
    };
    expect(look(podWith(status)).reason).toBeNull();
  });

  test("beside something injected, when its own container has ended", () => {
    const ended = container({ terminated: { exitCode: 137, reason: "OOMKilled" } });
    const status = { phase: "Running", containerStatuses: [{ ...running, name: "mesh" }, ended] };
    expect(look(podWith(status))).toEqual({
      state: "running",
      reason: "its agent has ended: OOMKilled: exit code 137",
      isUnplaced: false,
    });
  });
});

describe("a pod that goes", () => {
  const deletionTimestamp = at(280);

  test("because somebody said so", () => {
    const status = { phase: "Running", containerStatuses: [running] };
    expect(look(podWith(status, { deletionTimestamp }))).toEqual({
      state: "ending",
      reason: "is being deleted",
      isUnplaced: false,
    });
  });

  test("because the cluster takes its place", () => {
    const conditions = [
      {
        type: "DisruptionTarget",
        status: "True",
        reason: "PreemptionByScheduler",
        message: "default-scheduler: preempting to accommodate a higher priority pod",
      },
    ];
    expect(look(podWith({ phase: "Running", conditions }, { deletionTimestamp })).reason).toBe(
      "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod",
    );
  });

  test("from a node that does not answer, which may take for ever", () => {
    const conditions = [
      { type: "Ready", status: "False" },
      {
        type: "DisruptionTarget",
        status: "True",
        reason: "DeletionByTaintManager",
        message: "Taint manager: deleting due to NoExecute taint",
      },
    ];
    const status = { phase: "Running", conditions, containerStatuses: [running] };
    expect(look(podWith(status, { deletionTimestamp })).reason).toBe(
      "DeletionByTaintManager: Taint manager: deleting due to NoExecute taint; NodeNotReady: its node does not answer",
    );
  });

  test("and has no place any more is not unplaced", () => {
    const status = { phase: "Pending", conditions: [unschedulable(0)] };
    expect(look(podWith(status, { deletionTimestamp }))).toMatchObject({
      state: "ending",
      isUnplaced: false,
    });
  });
});

describe("a pod that has ended", () => {
  const terminated = (more: object) => [
    container({ terminated: { finishedAt: at(200), ...more } }),
  ];

  test.each<[string, V1PodStatus, string]>([
    [
      "by itself",
      { phase: "Succeeded", containerStatuses: terminated({ exitCode: 0, reason: "Completed" }) },
      "Completed: exit code 0",
    ],
    [
      "without memory",
      { phase: "Failed", containerStatuses: terminated({ exitCode: 137, reason: "OOMKilled" }) },
      "OOMKilled: exit code 137",
    ],
    [
      "with an error",
      {
        phase: "Failed",
        containerStatuses: terminated({ exitCode: 1, reason: "Error", message: "no token" }),
      },
      "Error: exit code 1; no token",
    ],
    [
      "by a signal",
      { phase: "Failed", containerStatuses: terminated({ exitCode: 0, signal: 9 }) },
      "signal 9",
    ],
    [
      "evicted",
      {
        phase: "Failed",
        reason: "Evicted",
        message: "The node was low on resource: ephemeral-storage.",
      },
      "Evicted: The node was low on resource: ephemeral-storage.",
    ],
    [
      "with its node's power",
      {
        phase: "Failed",
        reason: "Terminated",
        message: "Pod was terminated in response to imminent node shutdown.",
        containerStatuses: terminated({ exitCode: 143 }),
      },
      "Terminated: Pod was terminated in response to imminent node shutdown.; exit code 143",
    ],
    ["without a word", { phase: "Failed" }, "ended (Failed)"],
  ])("%s", (_, status, reason) => {
    expect(look(podWith(status, { nodeName: "n" }))).toEqual({
      state: "ended",
      reason,
      isUnplaced: false,
    });
  });

  test("because its node had no room after all was unplaced", () => {
    const status = {
      phase: "Failed",
      reason: "OutOfnvidia.com/gpu",
      message: "Node didn't have enough resource",
    };
    expect(look(podWith(status, { nodeName: "n" }))).toEqual({
      state: "ended",
      reason: "OutOfnvidia.com/gpu: Node didn't have enough resource",
      isUnplaced: true,
    });
  });

  test("did so at an instant that is known as well as it can be", () => {
    const containerStatuses = terminated({ exitCode: 0 });
    expect(endedAt(podWith({ phase: "Failed", containerStatuses }))).toBe(at(200).getTime());
    expect(endedAt(podWith({ phase: "Failed" }))).toBe(MADE.getTime());
    expect(endedAt({ status: { phase: "Failed" } })).toBeNull();
    expect(endedAt(podWith({ phase: "Running" }))).toBeNull();
  });
});

test("whatever a cluster says becomes a machine, with a reason that fits a line", () => {
  const word = fc.option(fc.string({ maxLength: 2_000 }), { nil: undefined });
  const time = fc.option(fc.date({ noInvalidDate: false }), { nil: undefined });
  const statuses = fc.record(
    {
      phase: fc.option(
        fc.constantFrom("Pending", "Running", "Succeeded", "Failed", "Unknown", "New"),
        {
          nil: undefined,
        },
      ),
      reason: word,
      message: word,
      conditions: fc.array(
        fc.record({
          type: fc.constantFrom("PodScheduled", "Ready", "DisruptionTarget", "Other"),
          status: fc.constantFrom("True", "False", "Unknown"),
          reason: word,
          message: word,
          lastTransitionTime: time,
        }),
        { maxLength: 4 },
      ),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(statuses, time, (status, deletionTimestamp) => {
      const pod = { metadata: { name: "m", deletionTimestamp }, status } as unknown as V1Pod;
      const machine = machineOfPod(pod, SETTINGS, NOW);
      expect(machine.reason?.length ?? 0).toBeLessThanOrEqual(501);
      expect(machine.reason ?? "").not.toMatch(/[\r\n]/);
      if (machine.isUnplaced === true) expect(["pending", "ended"]).toContain(machine.state);
      expect(machine.createdAt).toBeNull();
    }),
  );
});
