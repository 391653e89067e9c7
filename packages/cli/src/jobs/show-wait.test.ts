import { describe, expect, it } from "vitest";
import { EXIT } from "../exit-codes.ts";
import { worstExitCode } from "./show-wait.ts";

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
