import { describe, expect, it } from "vitest";
import { parseEvidenceLine, toChannel } from "./evidence-line.ts";

describe("a line of logged failures", () => {
  it("becomes evidence", () => {
    const line = {
      id: "e1",
      channel: "execution_error",
      exception_type: "torch.OutOfMemoryError",
      message: "m",
      node_type: "KSampler",
      traceback_tail: "a\nb",
      http_status: 400,
      label: "ignored",
    };
    expect(parseEvidenceLine(JSON.stringify(line))).toEqual({
      kind: "ok",
      id: "e1",
      evidence: {
        channel: "execution",
        exceptionType: "torch.OutOfMemoryError",
        message: "m",
        nodeType: "KSampler",
        httpStatus: 400,
        traceback: ["a", "b"],
      },
    });
  });

  it("may lack everything, or hold null", () => {
    const evidence = {
      channel: "log",
      exceptionType: null,
      message: "",
      nodeType: null,
      httpStatus: null,
    };
    expect(parseEvidenceLine("{}")).toEqual({ kind: "ok", id: null, evidence });
    const nulls = '{"id":null,"message":null,"channel":null,"http_status":null}';
    expect(parseEvidenceLine(nulls)).toEqual({ kind: "ok", id: null, evidence });
  });

  it.each(["nonsense", "[]", "1", "null"])("is refused when it is %s", (text) => {
    expect(parseEvidenceLine(text)).toMatchObject({ kind: "bad" });
  });

  it("knows channels under both names, and takes others for a log", () => {
    expect(toChannel("prompt_400")).toBe("validation");
    expect(toChannel("stall")).toBe("stall");
    expect(toChannel("something")).toBe("log");
  });
});
