import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { listeningText, machineSettings } from "./machine-settings.ts";
import type { SettingOptions } from "./options.ts";
import { readSettings } from "./settings.ts";

const settings = (
  env: Readonly<Record<string, string>> = {},
  options: SettingOptions = {},
): ReturnType<typeof machineSettings> =>
  machineSettings(
    readSettings(options, { terminal: recordingTerminal(), env: { HOLDFAST_HOME: "/h", ...env } }),
  );

describe("the machine's settings", () => {
  it("are below the home folder unless something else is said, and leave the rest to the manifest", () => {
    expect(settings()).toEqual({
      root: "/h/machine",
      manifestPath: "/h/machine.yaml",
      isManifestNamed: false,
      health: { host: null, port: null, tokenFile: null },
      programs: { uv: null, pm2: null, nvidiaSmi: null },
    });
  });

  it("come from the environment, with paths made absolute", () => {
    expect(
      settings({
        HOLDFAST_MACHINE_DIR: "m",
        HOLDFAST_MACHINE_MANIFEST: "box.yaml",
        HOLDFAST_HEALTH_HOST: "0.0.0.0",
        HOLDFAST_HEALTH_PORT: "0",
        HOLDFAST_HEALTH_TOKEN_FILE: "/t",
        HOLDFAST_UV: "/uv",
        HOLDFAST_PM2: "/pm2",
        HOLDFAST_NVIDIA_SMI: "/smi",
      }),
    ).toEqual({
      root: resolve("m"),
      manifestPath: resolve("box.yaml"),
      isManifestNamed: true,
      health: { host: "0.0.0.0", port: 0, tokenFile: "/t" },
      programs: { uv: "/uv", pm2: "/pm2", nvidiaSmi: "/smi" },
    });
  });

  it("are overridden by flags", () => {
    const { root, health } = settings(
      { HOLDFAST_MACHINE_DIR: "/m", HOLDFAST_HEALTH_PORT: "1" },
      { machineDir: "/flag", healthPort: "9191" },
    );
    expect([root, health.port]).toEqual(["/flag", 9_191]);
  });

  it.each(["65536", "-1", "ninety"])("refuse %s as a port", (port) => {
    expect(() => settings({ HOLDFAST_HEALTH_PORT: port })).toThrow(/HOLDFAST_HEALTH_PORT/);
  });
});

describe("where the health server listens", () => {
  const listening = { host: "127.0.0.1", port: 9_091, url: "http://127.0.0.1:9091" };

  it("is printed as an address to ask", () => {
    expect(listeningText({ ...listening, movedFrom: null })).toBe(
      "  health      http://127.0.0.1:9091/health",
    );
  });

  it("says who has the usual port", () => {
    const movedFrom = { port: 9_090, holder: "prometheus (process 7)" };
    expect(listeningText({ ...listening, movedFrom })).toBe(
      "  health      http://127.0.0.1:9091/health (port 9090 is taken by prometheus (process 7))",
    );
  });
});
