import type { ServedHealth } from "@holdfast/agent";
import { expect, test } from "vitest";
import { summarizeMachine } from "../services/machine-summary.ts";
import { computeReports } from "../services/service-reports.ts";
import { createTransitionHistory } from "../services/transition-history.ts";
import { attachedBeside, attachedName, attachedSources } from "./attached-services.ts";

const URL = "http://127.0.0.1:8188";
const reports = (
  urls: readonly string[],
  health: Partial<ServedHealth> | undefined,
  taken: readonly string[] = [],
) => {
  const agent = {
    instanceHealth: () =>
      health === undefined
        ? undefined
        : { state: "healthy", reason: null, isBusy: false, ...health },
  } as Parameters<typeof attachedSources>[1];
  const sources = attachedSources(
    urls.map((url) => ({ url })),
    agent,
    taken,
    () => 5.4,
  );
  return computeReports(sources, createTransitionHistory(), 0).reports;
};

test.each([
  [undefined, "starting"],
  [{ state: "starting" }, "starting"],
  [{ state: "healthy" }, "healthy"],
  [{ state: "unhealthy", reason: "deep check failed" }, "unhealthy"],
  [{ state: "stopped", reason: null }, "unhealthy"],
] as const)("an attached ComfyUI that the runner finds %j is %s", (health, state) => {
  const [report] = reports([URL], health);
  expect(report).toMatchObject({ name: "comfyui-127.0.0.1-8188", kind: "instance", state });
  expect(report?.details).toEqual({ url: URL });
});

test("why one is not well is told", () => {
  const [ill] = reports([URL], { state: "unhealthy", reason: "deep check failed" });
  expect(ill?.reason).toContain("deep check failed");
  expect(reports([URL], { state: "stopped" })[0]?.reason).toContain("it is not well");
});

test("attached ComfyUIs do a machine's work like its own", () => {
  expect(summarizeMachine(reports([URL], {})).state).toBe("healthy");
  expect(summarizeMachine(reports([URL], { state: "unhealthy" })).state).toBe("unhealthy");
});

test("an address becomes a name that is no path, and no other service's", () => {
  expect(attachedName("https://Host.example/comfy/")).toBe("comfyui-Host.example-comfy");
  expect(attachedName(`http://${"x".repeat(300)}`).length).toBeLessThanOrEqual(108);
  const names = reports(["http://a/b", "http://a-b", "http://c"], {}, ["comfyui-c"]).map(
    ({ name }) => name,
  );
  expect(names).toEqual(["comfyui-a-b", "comfyui-a-b-2", "comfyui-c-2"]);
});

test("no address is served twice, however it is spelt; an own instance goes first", () => {
  const attached = [
    { url: "http://localhost:8188/" },
    { url: "http://127.0.0.1:8190" },
    { url: "http://[::1]:8190" },
    { url: "http://127.0.0.1:8190" },
    { url: "http://other:8188" },
  ];
  const own = [{ name: "comfyui-gpu0", url: URL }];
  const { attached: kept, notes } = attachedBeside(attached, own);
  expect(kept.map(({ url }) => url)).toEqual(["http://127.0.0.1:8190", "http://other:8188"]);
  expect(notes).toEqual([
    expect.stringContaining("http://localhost:8188/ is the address of comfyui-gpu0 too"),
    expect.stringContaining("http://[::1]:8190 is the address of http://127.0.0.1:8190 too"),
  ]);
  expect(attachedBeside(attached.slice(4), own)).toEqual({
    attached: attached.slice(4),
    notes: [],
  });
});
