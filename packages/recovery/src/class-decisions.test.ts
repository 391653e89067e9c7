import { describe, expect, it } from "vitest";

import {
  CARD_OF_UNKNOWN_SIZE,
  classified,
  decide,
  decideError,
  earlier,
  facts,
} from "../testing/retry-facts.ts";
import { FILE_LOCK_WAIT_MS } from "./class-decisions.ts";
import { classify } from "./classify.ts";
import { decideRetry, RECOVERIES_MAX } from "./retry.ts";

describe("what no retry can cure", () => {
  it("fails a faulty graph at once", () => {
    expect(decideError("workflow_error")).toMatchObject({
      kind: "fail",
      reason: "same_graph_fails_everywhere",
    });
  });

  it("uploads a missing input once more, then fails", () => {
    expect(decideError("workflow_error", {}, "missing_input")).toMatchObject({
      where: "same",
      reason: "upload_input_again",
    });
    const again = { earlierFailures: [earlier("workflow_error", "a")] };
    expect(decideError("workflow_error", again, "missing_input").kind).toBe("fail");
  });

  it("fails a refused credential at once", () => {
    expect(decideError("auth_error")).toMatchObject({
      kind: "fail",
      reason: "credential_refused",
    });
  });

  it("fails a whole model file that does not fit", () => {
    expect(decideError("corrupt_model", {}, "weights_mismatch").kind).toBe("fail");
  });
});

describe("what another machine may have", () => {
  const CLASSES = [
    "model_missing",
    "node_missing",
    "dependency_error",
    "corrupt_model",
    "permission_error",
  ] as const;

  it.each(CLASSES)("%s goes elsewhere once", (errorClass) => {
    expect(decideError(errorClass)).toMatchObject({ kind: "retry", where: "elsewhere" });
    expect(decideError(errorClass, { earlierFailures: [earlier(errorClass, "b")] })).toMatchObject({
      kind: "fail",
      reason: "tried_enough",
    });
  });

  it.each(CLASSES)("%s fails where there is no elsewhere", (errorClass) => {
    expect(decideError(errorClass, { others: [] })).toMatchObject({
      kind: "fail",
      reason: "nobody_else_can_serve",
    });
  });

  it("waits for another program's lock once, then goes elsewhere no more than once", () => {
    expect(decideError("permission_error", {}, "file_in_use")).toMatchObject({
      where: "same",
      delayMs: FILE_LOCK_WAIT_MS,
    });
    const again = { earlierFailures: [earlier("permission_error", "a")] };
    expect(decideError("permission_error", again, "file_in_use").kind).toBe("fail");
  });
});

describe("waits", () => {
  it("doubles the wait for a connection up to half a minute", () => {
    const delays = [0, 1, 2, 3, 4, 5].map((count) => {
      const before = Array.from({ length: count }, () => earlier("network_error", "a"));
      const error = classified("network_error");
      const decision = decideRetry(facts({ error, earlierFailures: before }), { next: () => 0 });
      return decision.kind === "retry" ? decision.delayMs : -1;
    });
    expect(delays).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  it("names a jittered wait with one decimal", () => {
    const decision = decideRetry(facts({ error: classified("network_error") }), {
      next: () => 0.5,
    });
    expect(decision.explain).toContain("1.8 s");
  });

  it("does not spend the retry budget on waits", () => {
    expect(decideError("network_error", { maxRetryAttempts: 0 }).kind).toBe("retry");
    const waits = Array.from({ length: 4 }, () => earlier("network_error", "a"));
    expect(
      decideError("cuda_out_of_memory", { earlierFailures: waits, maxRetryAttempts: 1 }).kind,
    ).toBe("retry");
  });

  it("ends after ten recoveries", () => {
    const waits = Array.from({ length: RECOVERIES_MAX }, () => earlier("network_error", "a"));
    expect(decideError("network_error", { earlierFailures: waits })).toMatchObject({
      kind: "fail",
      reason: "recoveries_used_up",
    });
  });

  it("moves a stalled job elsewhere, or tries it again where there is no elsewhere", () => {
    expect(decide({ outcome: "stalled" })).toMatchObject({
      where: "elsewhere",
      reason: "after_stall",
    });
    expect(decide({ outcome: "stalled", others: [] })).toMatchObject({
      where: "anywhere",
    });
  });

  it("moves a job off a dead instance at once, or waits for it to come back", () => {
    expect(decide({ outcome: "instance_died" })).toMatchObject({ where: "elsewhere", delayMs: 0 });
    const alone = decide({ outcome: "instance_died", others: [] });
    expect(alone).toMatchObject({ where: "anywhere", reason: "after_crash" });
    expect(alone.kind === "retry" && alone.delayMs > 1_000).toBe(true);
  });

  it("treats a killed process as a crash, whatever its exit code suggests", () => {
    const before = [earlier("host_out_of_memory", "a", "instance_died")];
    const decision = decideError("host_out_of_memory", {
      outcome: "instance_died",
      earlierFailures: before,
      maxRetryAttempts: 0,
      others: [],
    });
    expect(decision).toMatchObject({ kind: "retry", reason: "after_crash" });
  });
});

describe("GPU and memory", () => {
  it("frees memory, then goes elsewhere, frees there, then gives up", () => {
    const oom = "cuda_out_of_memory";
    expect(decideError(oom)).toMatchObject({ where: "same", before: "free_memory" });
    expect(decideError(oom, { earlierFailures: [earlier(oom, "a")] })).toMatchObject({
      where: "elsewhere",
    });
    const twice = [earlier(oom, "a"), earlier(oom, "a")];
    expect(decideError(oom, { instanceId: "b", earlierFailures: twice })).toMatchObject({
      where: "same",
      before: "free_memory",
    });
    const onB = [...twice, earlier(oom, "b")];
    expect(decideError(oom, { instanceId: "b", earlierFailures: onB })).toMatchObject({
      kind: "fail",
      reason: "tried_enough",
    });
  });

  it("does not free what another process holds, unless there is nowhere to go", () => {
    expect(decideError("cuda_out_of_memory", {}, "foreign_vram")).toMatchObject({
      where: "elsewhere",
    });
    expect(decideError("cuda_out_of_memory", { others: [] }, "foreign_vram")).toMatchObject({
      where: "same",
    });
  });

  it("restarts for host memory and for a poisoned GPU context", () => {
    for (const errorClass of ["host_out_of_memory", "gpu_fault"] as const) {
      expect(decideError(errorClass)).toMatchObject({
        where: "same",
        before: "restart_instance",
      });
    }
  });

  it("leaves a broken card at once", () => {
    expect(decideError("gpu_fault", {}, "hardware")).toMatchObject({ where: "elsewhere" });
  });

  it("blames the job for a second device assertion", () => {
    expect(decideError("gpu_fault", {}, "device_assert").kind).toBe("retry");
    const again = { earlierFailures: [earlier("gpu_fault", "a")] };
    expect(decideError("gpu_fault", again, "device_assert")).toMatchObject({ kind: "fail" });
  });
});

it("a graph that was refused before it ran is checked once more", () => {
  expect(decideError("workflow_error", { hasExecuted: false })).toMatchObject({
    rung: "validate_again",
    delayMs: 0,
  });
  const again = { hasExecuted: false, earlierFailures: [earlier("workflow_error", "a")] };
  expect(decideError("workflow_error", again)).toMatchObject({ kind: "fail" });
});

describe("instances that are ours to restart", () => {
  const alone = { others: [], canRestartInstance: true };

  it.each(["gpu_fault", "host_out_of_memory"] as const)(
    "%s restarts each once, and then goes elsewhere",
    (errorClass) => {
      expect(decideError(errorClass, alone)).toMatchObject({
        rung: "restart_instance",
        where: "same",
        before: "restart_instance",
      });
      const again = { earlierFailures: [earlier(errorClass, "a")], canRestartInstance: true };
      expect(decideError(errorClass, again)).toMatchObject({ where: "elsewhere" });
      const nowhere = { ...alone, earlierFailures: [earlier(errorClass, "a")] };
      expect(decideError(errorClass, nowhere)).toMatchObject({ kind: "fail" });
    },
  );

  it("one that answers and stands still for the second time is restarted where there is no other", () => {
    const twice = { isInstanceAlive: true, earlierFailures: [earlier("timeout", "a")] };
    expect(decideError("timeout", { ...alone, ...twice }, "stall")).toMatchObject({
      before: "restart_instance",
      rung: "restart_instance",
    });
    const thrice = {
      ...twice,
      earlierFailures: [earlier("timeout", "a"), earlier("timeout", "a")],
    };
    for (const other of [
      { ...alone, ...twice, canRestartInstance: false },
      { ...alone, ...twice, isInstanceAlive: false },
      { ...alone, ...thrice },
      { ...twice, canRestartInstance: true },
    ]) {
      expect(decideError("timeout", other, "stall")).toMatchObject({ before: "nothing" });
    }
  });

  it("one that could not be restarted is left, or waited for, and the words say so", () => {
    const evidence = { channel: "restart", message: "PM2 does not answer" } as const;
    expect(classify(evidence)).toMatchObject({
      class: "instance_crash",
      subclass: "restart_failed",
    });
    const away = decideError("instance_crash", {}, "restart_failed");
    expect(away).toMatchObject({ where: "elsewhere" });
    expect(away.explain).toMatch(/^ComfyUI could not be restarted/);
    const waiting = decideError("instance_crash", { others: [] }, "restart_failed");
    expect(waiting).toMatchObject({ rung: "wait_and_retry" });
    expect(waiting.explain).toMatch(/^ComfyUI could not be restarted/);
  });
});

describe("a model that a machine offers to fetch", () => {
  const fetchable = { isModelFetchable: true, others: [] };

  it("is waited for where nobody has it, twice at most", () => {
    const first = decideError("model_missing", fetchable);
    expect(first).toMatchObject({ rung: "fetch_model", reason: "fetch_first", before: "nothing" });
    const again = { ...fetchable, earlierFailures: [earlier("model_missing", "a")] };
    expect(decideError("model_missing", again)).toMatchObject({ rung: "fetch_model" });
    const enough = [earlier("model_missing", "a"), earlier("model_missing", "a")];
    expect(decideError("model_missing", { ...fetchable, earlierFailures: enough }).kind).toBe(
      "fail",
    );
  });

  it("is looked for elsewhere first", () => {
    expect(decideError("model_missing", { isModelFetchable: true })).toMatchObject({
      rung: "instance_with_model",
    });
    const again = { isModelFetchable: true, earlierFailures: [earlier("model_missing", "b")] };
    expect(decideError("model_missing", again)).toMatchObject({ rung: "fetch_model" });
  });
});

describe("which card is better", () => {
  const oom = "cuda_out_of_memory";
  const GB = 1e9;
  const card = (total: number | null) => ({ totalBytes: total === null ? null : total * GB });
  const other = (id: string, total: number | null) => ({ id, machineId: id, card: card(total) });
  const after = (here: ReturnType<typeof card>, others: ReturnType<typeof other>[], more = {}) =>
    decideError(oom, { card: here, others, earlierFailures: [earlier(oom, "a")], ...more });

  it("a larger one is tried, and those that are no larger are avoided", () => {
    expect(after(card(8), [other("same", 8), other("big", 24)])).toMatchObject({
      rung: "more_vram",
      where: "elsewhere",
      avoid: ["a", "same"],
    });
  });

  it("one of the same size is tried where none is larger: less may be taken there", () => {
    expect(after(card(8), [other("same", 8), other("small", 6)])).toMatchObject({
      rung: "more_vram",
      avoid: ["a", "small"],
    });
    expect(after(card(8), [other("small", 6)])).toMatchObject({
      kind: "fail",
      reason: "nobody_else_can_serve",
      explain: expect.stringContaining("any better"),
    });
  });

  it("one that does not tell is worth a try", () => {
    expect(after(card(8), [other("silent", null)])).toMatchObject({ where: "elsewhere" });
    expect(after(card(null), [other("same", 8)])).toMatchObject({ where: "elsewhere" });
  });

  it("a request larger than the card goes to one that could hold it, without freeing anything", () => {
    const above = (others: ReturnType<typeof other>[]) =>
      decideError(oom, { card: card(8), others, wantedBytes: 12 * GB }, "above_card");
    expect(above([other("ten", 10), other("big", 24)])).toMatchObject({
      rung: "more_vram",
      avoid: ["a", "ten"],
    });
    expect(above([other("ten", 10)])).toMatchObject({ kind: "fail" });
  });

  it("fragmented memory comes back with a restart, where one is allowed", () => {
    expect(decideError(oom, {}, "fragmentation")).toMatchObject({ before: "restart_instance" });
    expect(decideError(oom, { canRestartInstance: false }, "fragmentation")).toMatchObject({
      before: "free_memory",
    });
  });
});

it("a full disk is left with its whole machine, and so is the next one", () => {
  const CARD = CARD_OF_UNKNOWN_SIZE;
  const others = [
    { id: "b", machineId: "m1", card: CARD },
    { id: "z", machineId: "m2", card: CARD },
  ];
  expect(decideError("disk_full", { others })).toMatchObject({
    rung: "elsewhere_with_room",
    avoid: ["a", "b"],
  });
  const again = { earlierFailures: [earlier("disk_full", "y")], others };
  expect(decideError("disk_full", again)).toMatchObject({ where: "elsewhere" });
  expect(decideError("disk_full", { others: others.slice(0, 1) })).toMatchObject({ kind: "fail" });
});

it("a proxy's deadline is waited out like a lost connection, as often", () => {
  const many = Array.from({ length: 6 }, () => earlier("timeout", "a"));
  expect(decideError("timeout", { earlierFailures: many }, "proxy_deadline")).toMatchObject({
    kind: "retry",
    rung: "wait_and_retry",
  });
});

describe("what nobody understands", () => {
  it("is tried the same, then elsewhere, then kept as evidence", () => {
    expect(decideError("unknown")).toMatchObject({ where: "same", before: "nothing" });
    const once = [earlier("unknown", "a")];
    expect(decideError("unknown", { earlierFailures: once })).toMatchObject({ where: "elsewhere" });
    const twice = [...once, earlier("unknown", "a")];
    expect(decideError("unknown", { earlierFailures: twice })).toMatchObject({ kind: "fail" });
  });

  it("obeys an interrupt from outside the second time", () => {
    expect(decideError("interrupted")).toMatchObject({ where: "same" });
    const again = { earlierFailures: [earlier("interrupted", "a")] };
    expect(decideError("interrupted", again)).toMatchObject({ kind: "fail" });
  });

  it("counts stalls as timeouts against the retry budget", () => {
    const stalls = [earlier("unknown", "a", "stalled"), earlier("unknown", "b", "stalled")];
    expect(
      decide({ outcome: "stalled", earlierFailures: stalls, maxRetryAttempts: 2 }),
    ).toMatchObject({ kind: "fail", reason: "retries_used_up" });
  });
});
