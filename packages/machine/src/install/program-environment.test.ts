import { expect, test } from "vitest";
import { INSTALLER_MARK, INSTALLER_OWNER, programEnvironment } from "./program-environment.ts";

test("a program gets what it needs to find programs and the network, and nothing else", () => {
  const host = {
    PATH: "/bin",
    HTTPS_PROXY: "http://p",
    UV_HTTP_TIMEOUT: "9",
    HOLDFAST_KEY: "secret",
    PYTHONPATH: "/x",
    HOME: undefined,
  };
  expect(programEnvironment(host, "/m", { EXTRA: "1" })).toEqual({
    PATH: "/bin",
    HTTPS_PROXY: "http://p",
    UV_HTTP_TIMEOUT: "9",
    LANG: "C.UTF-8",
    LC_ALL: "C.UTF-8",
    [INSTALLER_MARK]: "/m",
    [INSTALLER_OWNER]: String(process.pid),
    EXTRA: "1",
  });
});
