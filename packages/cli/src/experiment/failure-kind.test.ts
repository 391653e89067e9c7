import { describe, expect, it } from "vitest";
import type { FailureEvidence } from "@holdfast/recovery";
import { failureOfEvidence } from "./failure-kind.ts";

const kind = (channel: FailureEvidence["channel"], message: string, more = {}) => {
  const { class: errorClass, isInfrastructure } = failureOfEvidence({ channel, message, ...more });
  return [errorClass, isInfrastructure];
};

describe("a failure", () => {
  it("says where it happened: node, its class, exception, and the end of the traceback", () => {
    const place = { nodeId: "5", nodeType: "MaskToImage", exceptionType: "RuntimeError" };
    const told = failureOfEvidence({
      channel: "execution",
      message: "cannot reshape tensor",
      ...place,
      traceback: [
        ...Array.from({ length: 150 }, (_, at) => `  File "execution.py", line ${at}, in up\n`),
        '  File "nodes_mask.py", line 110, in mask_to_image\n    return mask.reshape(x)\n           ^^^^^^^^^^^^\n',
      ],
    });
    expect(told).toMatchObject(place);
    expect(told.traceback).toMatch(
      /^ {2}File .*\n.*line 110, in mask_to_image\n {4}return mask\.reshape\(x\)$/s,
    );
    expect(told.traceback?.length).toBeLessThanOrEqual(4_000);
    const nowhere = failureOfEvidence({ channel: "connection", message: "refused", nodeId: null });
    expect(Object.keys(nowhere).sort()).toEqual(["class", "isInfrastructure", "message"]);
  });

  it("is the run's own where another service would fail alike", () => {
    expect(
      kind("execution", "CUDA out of memory. Tried to allocate 2.00 GiB", {
        exceptionType: "torch.OutOfMemoryError",
      }),
    ).toEqual(["cuda_out_of_memory", false]);
    expect(
      kind("validation", "Value not in list", { validationType: "value_not_in_list" })[1],
    ).toBe(false);
    expect(kind("stall", "No sign of progress for 120000 ms.")).toEqual(["timeout", false]);
  });

  it("is a service's where it died or could not be reached", () => {
    expect(kind("process_exit", "connection_refused")[1]).toBe(true);
    expect(kind("connection", "ECONNREFUSED")).toEqual(["network_error", true]);
    expect(
      kind("execution", "CUDA error: an illegal memory access was encountered", {
        exceptionType: "RuntimeError",
      }),
    ).toEqual(["gpu_fault", true]);
  });
});
