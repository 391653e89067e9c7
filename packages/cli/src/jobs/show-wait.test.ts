import { describe, expect, it } from "vitest";
import { EXIT } from "../exit-codes.ts";
import type { JobView } from "@holdfast/contract";
import { endText, worstExitCode } from "./show-wait.ts";

describe("the exit code of several jobs", () => {
  it("is that of the worst", () => {
    expect(worstExitCode([EXIT.ok, EXIT.outputsMissing, EXIT.notFinished, EXIT.failed])).toBe(
      EXIT.failed,
    );
    expect(worstExitCode([EXIT.outputsMissing, EXIT.notFinished])).toBe(EXIT.notFinished);
    expect(worstExitCode([EXIT.ok, EXIT.ok])).toBe(EXIT.ok);
    expect(worstExitCode([])).toBe(EXIT.ok);
  });
});

describe("the last line of a job", () => {
  const job = {
    number: 7,
    status: "completed",
    outputCount: 1,
    attemptCount: 3,
    changes: null,
  } as JobView;

  it("says when the outputs are not of the graph that was submitted", () => {
    expect(endText(job)).toBe("job 7 completed: 1 output, 3 attempts");
    const step = "Reduced parameters for cuda_out_of_memory: 5.width 1024 → 816";
    expect(endText({ ...job, changes: { loss: "size", steps: [step] } })).toBe(
      `job 7 completed: 1 output, 3 attempts; not as submitted (size): ${step}`,
    );
    expect(endText({ ...job, changes: { loss: "none", steps: ["In parts."] } })).toBe(
      "job 7 completed: 1 output, 3 attempts",
    );
  });
});
