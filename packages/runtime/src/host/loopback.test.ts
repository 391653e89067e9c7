import { describe, expect, it } from "vitest";
import { isLoopbackName, isLoopbackRequest } from "./loopback.ts";

describe("loopback", () => {
  it.each(["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])("is %s", (name) => {
    expect(isLoopbackName(name)).toBe(true);
  });

  it.each(["", "0.0.0.0", "::", "127.0.0.1.example", "example.com", "[::1", "1127.0.0.1"])(
    "is not %j",
    (name) => {
      expect(isLoopbackName(name)).toBe(false);
    },
  );

  it.each([
    [{ host: "127.0.0.1:9090" }, true],
    [{ host: "[::1]:9090", origin: "http://localhost:3000" }, true],
    [{ host: "rebound.example:9090" }, false],
    [{ host: "localhost", origin: "https://example.com" }, false],
    [{ host: "localhost", origin: "null" }, false],
    [{ host: "a b" }, false],
    [{}, false],
  ])("was meant by a request with %j: %j", (headers, isMeant) => {
    expect(isLoopbackRequest(headers)).toBe(isMeant);
  });
});
