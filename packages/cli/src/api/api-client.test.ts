import { describe, expect, it } from "vitest";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { failureOf, serverAddress } from "./api-client.ts";

describe("the server's address", () => {
  it("comes from the flag, then the environment, then the default", () => {
    expect(serverAddress({}, {}).baseUrl).toBe("http://127.0.0.1:8328");
    const env = { HOLDFAST_URL: "https://hf.example/", HOLDFAST_API_KEY: " hf_x\n" };
    expect(serverAddress({}, env)).toEqual({ baseUrl: "https://hf.example", apiKey: "hf_x" });
    expect(serverAddress({ url: "http://other:1" }, env).baseUrl).toBe("http://other:1");
  });

  it.each(["127.0.0.1:8328", "ftp://x", "nonsense"])("is refused when it is %s", (url) => {
    expect(() => serverAddress({}, { HOLDFAST_URL: url })).toThrow(/HOLDFAST_URL: expected/);
    expect(() => serverAddress({ url }, {})).toThrow(/--url: expected/);
  });

  it("is refused with a key that cannot be one, which is not repeated", () => {
    const apiKey = "{ id: 'key_1' }";
    const refusal = (): unknown => serverAddress({ apiKey }, {});
    expect(refusal).toThrow(/--api-key: expected one key/);
    expect(refusal).not.toThrow(/key_1/);
    expect(() => serverAddress({}, { HOLDFAST_API_KEY: "hf_a\nhf_b" })).toThrow(/HOLDFAST_API_KEY/);
  });
});

describe("what the server did not do", () => {
  const refused = {
    kind: "refused",
    status: 422,
    code: "graph_cyclic",
    message: "nodes 1 and 2",
    details: undefined,
    requestId: "req_1",
    retryAfterSeconds: undefined,
  } as const;

  it("is a refusal, with its code and words", () => {
    const failure = failureOf(refused, "http://x");
    expect(failure).toBeInstanceOf(CommandFailure);
    expect(failure).toMatchObject({ exitCode: EXIT.refused, code: "graph_cyclic" });
    expect(failure.message).toBe("graph_cyclic: nodes 1 and 2");
  });

  it("lists everything that is wrong with a graph", () => {
    const issues = [{ message: "nodes 1 and 2" }, { message: "node 3" }];
    const failure = failureOf({ ...refused, details: { issues } }, "");
    expect(failure.message).toBe("graph_cyclic: nodes 1 and 2\nnode 3");
  });

  it("says that the address is the health server of a machine", () => {
    const details = { routes: ["/health", "/services", "/ready"] };
    const failure = failureOf(
      { ...refused, status: 404, code: "not_found", details },
      "http://box:9090",
    );
    expect(failure.message).toMatch(/^http:\/\/box:9090 is the health server of a machine/);
    expect(failure.exitCode).toBe(EXIT.refused);
  });

  it("says how to show a key, when to come back, and where to look", () => {
    expect(failureOf({ ...refused, status: 401 }, "").message).toContain("HOLDFAST_API_KEY");
    expect(failureOf({ ...refused, status: 429, retryAfterSeconds: 9 }, "").message).toContain(
      "9 s",
    );
    const broken = failureOf({ ...refused, status: 500 }, "");
    expect(broken.message).toContain("req_1");
    expect(broken.exitCode).toBe(EXIT.unavailable);
  });

  it("names the address that nobody answers at", () => {
    const failure = failureOf(
      { kind: "unreachable", reason: "nothing", mayHaveArrived: false },
      "http://x:1",
    );
    expect(failure.exitCode).toBe(EXIT.unavailable);
    expect(failure.message).toContain("http://x:1: nothing");
  });
});
