import { systemClock } from "@holdfast/runtime/system";
import { afterEach, describe, expect, it } from "vitest";
import { startSimulator, type Simulator } from "../src/index.ts";
import { readFixture, type Fixture, type FixtureStep } from "./fixture-file.ts";
import { shapeOf } from "./normalise.ts";
import { Replay } from "./replay.ts";

const EXCHANGES = [
  "happy-path",
  "cached",
  "validation-errors",
  "partial-invalid",
  "execution-error-oom",
  "execution-error-runtime",
  "execution-error-filenotfound",
  "execution-error-enospc",
  "execution-blocked",
  "interrupted",
  "interrupted-uncooperative-node",
  "interrupt-broadcast",
  "queue-pending",
  "history-list",
  "prompt-ids",
  "duplicate-prompt-id",
  "previews-legacy",
  "previews-metadata",
  "websocket-output-legacy",
  "websocket-output-metadata",
  "ws-sessions",
  "upload-view",
  "misc-endpoints",
];

/** What the simulator does not have: the front end's own files, and ComfyUI's experiments. */
const LEFT_OUT =
  /^\/(experiment|extensions|internal|api\/internal|userdata|v2\/userdata|system_stats)/;

function isLeftOut({ http }: FixtureStep): boolean {
  return http !== undefined && LEFT_OUT.test(http.path);
}

describe("recorded exchanges of ComfyUI 0.3.64, played against the simulator", () => {
  let simulator: Simulator | undefined;

  afterEach(async () => {
    await simulator?.stop();
    simulator = undefined;
  });

  const start = async (): Promise<Simulator> => {
    simulator = await startSimulator({
      clock: systemClock,
      timeScale: 0,
      models: { checkpoints: ["tiny.safetensors"] },
    });
    return simulator;
  };

  it.each(EXCHANGES)("%s", async (name) => {
    const { url } = await start();
    const comparisons = await new Replay(url, readFixture(name) as Fixture, isLeftOut).play();
    expect(comparisons.length).toBeGreaterThan(0);
    for (const { expected, actual } of comparisons) expect(actual).toEqual(expected);
  });

  it("object-info-core: every recorded class is shown as recorded", async () => {
    const { url } = await start();
    const recorded = readFixture("object-info-core") as Record<string, unknown>;
    const shown = (await (await fetch(`${url}/object_info`)).json()) as Record<string, unknown>;
    for (const [name, info] of Object.entries(recorded)) {
      const wanted = structuredClone(info) as { input: { required: Record<string, unknown[]> } };
      // The recorded instance had files uploaded; this one has none.
      if (name === "LoadImage") wanted.input.required["image"] = [[], { image_upload: true }];
      expect(shown[name]).toEqual(wanted);
    }
  });

  it("system-stats-cpu: the same fields, and it says simulated", async () => {
    const { url } = await start();
    const recorded = readFixture("system-stats-cpu") as { devices: { index: unknown }[] };
    const shown = (await (await fetch(`${url}/system_stats`)).json()) as {
      readonly system: { readonly comfyui_version: string };
      readonly devices: readonly { readonly name: string }[];
    };
    // A CPU has no index; a card has one.
    for (const device of recorded.devices) device.index = 0;
    expect(shapeOf(shown)).toEqual(shapeOf(recorded));
    expect(shown.system.comfyui_version).toBe("0.3.64-simulated");
    expect(shown.devices[0]?.name).toContain("simulated");
  });
});
