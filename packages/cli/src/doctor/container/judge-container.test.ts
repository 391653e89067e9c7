import { describe, expect, it } from "vitest";
import type { ContainerFacts, ProgramAnswer } from "./container-facts.ts";
import { judgeContainer } from "./judge-container.ts";

/*
 * Where the forms are from. `ENGINE_AWAY` and `INFO_AWAY` (shortened) were printed by a Docker 28.2.2 client
 * without an engine, `NO_PLUGIN` by one without the compose plugin. The answers of an engine were written by
 * hand after them and the fields of Docker's Engine API 1.50 (`/version`, `/info`: Runtimes, CDISpecDirs,
 * DiscoveredDevices); they were not recorded from an engine with a card. The words of nvidia-smi are those of
 * recordings in packages/machine/testing/nvidia-smi.
 */
const ended = (stdout: string, stderr = "", exitCode = 0): ProgramAnswer => ({
  kind: "ended",
  exitCode,
  stdout,
  stderr,
});
const CLIENT = {
  Version: "28.2.2",
  ApiVersion: "1.50",
  DefaultAPIVersion: "1.50",
  Os: "linux",
  Arch: "amd64",
  Context: "default",
};
const engine = (version: string): ProgramAnswer =>
  ended(
    JSON.stringify({
      Client: CLIENT,
      Server: {
        Platform: { Name: "Docker Engine - Community" },
        Components: [{ Name: "Engine", Version: version, Details: { MinAPIVersion: "1.24" } }],
        Version: version,
        ApiVersion: "1.50",
        MinAPIVersion: "1.24",
        Os: "linux",
        Arch: "amd64",
      },
    }),
  );
const AWAY_WORDS =
  "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n";
const ENGINE_AWAY = ended(JSON.stringify({ Client: CLIENT, Server: null }), AWAY_WORDS, 1);
const INFO_AWAY = ended('{"ID":"","Containers":0,"Runtimes":null}', AWAY_WORDS, 1);
const NO_PLUGIN = ended(
  "",
  "unknown flag: --format\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n\nRun 'docker --help' for more information\n",
  125,
);
const RUNC = {
  "io.containerd.runc.v2": { path: "runc" },
  runc: { path: "runc" },
};
const info = (more: object): ProgramAnswer =>
  ended(
    JSON.stringify({
      ID: "f0a1",
      ServerVersion: "28.2.2",
      Runtimes: RUNC,
      DefaultRuntime: "runc",
      SecurityOptions: ["name=seccomp,profile=builtin", "name=cgroupns"],
      CDISpecDirs: ["/etc/cdi", "/var/run/cdi"],
      ...more,
    }),
  );
const NVIDIA = info({ Runtimes: { nvidia: { path: "nvidia-container-runtime" }, ...RUNC } });

const GOOD: ContainerFacts = {
  version: engine("28.2.2"),
  info: NVIDIA,
  compose: ended('{"version":"v2.40.3"}\n'),
  driver: ended("535.183.01\n535.183.01\n"),
  modelsPath: "/data/comfyui/models",
  models: { kind: "folder", isOpen: true, entries: 12 },
  ports: [8188, 8189, 9090].map((port) => ({ port, kind: "free" })),
};
const judge = (more: Partial<ContainerFacts>, name: string) => {
  const found = judgeContainer({ ...GOOD, ...more }).find((finding) => finding.name === name);
  if (found === undefined) throw new Error(`nothing was found about ${name}`);
  return found;
};

describe("a host for containers", () => {
  it("is well when everything is there", () => {
    const findings = judgeContainer(GOOD);
    expect(findings.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "Docker ok",
      "Compose ok",
      "NVIDIA driver ok",
      "NVIDIA container toolkit ok",
      "models ok",
      "port 8188 ok",
      "port 8189 ok",
      "port 9090 ok",
    ]);
    expect(judge({}, "NVIDIA driver").found).toBe("535.183.01, 2 cards");
  });

  it("says of all that fails what to do", () => {
    const nothing: ProgramAnswer = { kind: "missing" };
    const findings = judgeContainer({
      version: nothing,
      info: nothing,
      compose: nothing,
      driver: nothing,
      modelsPath: "/m",
      models: { kind: "absent" },
      ports: [{ port: 8188, kind: "taken", holder: "process 7 (python main.py)" }],
    });
    for (const { state, fix } of findings) {
      expect(state).not.toBe("ok");
      expect(fix).toBeTruthy();
    }
    // How an engine that is not there is configured is no question.
    expect(findings.map(({ name }) => name)).not.toContain("NVIDIA container toolkit");
  });

  it.each([
    ["20.10.0", "ok"],
    ["20.10.24+dfsg1", "ok"],
    ["29.0.1", "ok"],
    ["20.9.9", "fail"],
    ["19.03.15", "fail"],
  ])("Docker %s: %s", (version, state) => {
    expect(judge({ version: engine(version) }, "Docker").state).toBe(state);
  });

  it.each<[string, ProgramAnswer, RegExp]>([
    ["is not started", ENGINE_AWAY, /systemctl enable --now docker/],
    [
      "is not for this account",
      ended(
        JSON.stringify({ Client: CLIENT, Server: null }),
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
        1,
      ),
      /group docker/,
    ],
    ["hangs", { kind: "silent", limitMs: 20_000 }, /restart docker/],
  ])("an engine that %s", (_name, version, fix) => {
    const found = judge({ version, info: INFO_AWAY }, "Docker");
    expect(found).toMatchObject({ state: "fail", fix: expect.stringMatching(fix) as string });
  });

  it.each<[string, ProgramAnswer, string, RegExp]>([
    ["a runtime", NVIDIA, "ok", /runtime nvidia/],
    [
      "devices by CDI",
      info({
        DiscoveredDevices: [
          { Source: "cdi", ID: "nvidia.com/gpu=0" },
          { Source: "cdi", ID: "nvidia.com/gpu=all" },
        ],
      }),
      "ok",
      /nvidia\.com\/gpu=0/,
    ],
    [
      "CDI of somebody else",
      info({ DiscoveredDevices: [{ ID: "vendor.com/nic=0" }] }),
      "fail",
      /neither/,
    ],
    ["neither", info({}), "fail", /neither/],
    ["no answer", ended("", "Error response from daemon", 1), "fail", /Error response/],
    ["a hang", { kind: "silent", limitMs: 20_000 }, "fail", /does not answer/],
  ])("the toolkit as %s", (_name, answer, state, found) => {
    const finding = judge({ info: answer }, "NVIDIA container toolkit");
    expect(finding).toMatchObject({ state, found: expect.stringMatching(found) as string });
  });

  it.each<[string, ProgramAnswer, string]>([
    ["535", ended("535.54.03\n"), "ok"],
    ["580", ended("580.95.05\n"), "ok"],
    ["525", ended("525.147.05\n"), "fail"],
    [
      "one that cannot be spoken to",
      ended(
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.\n",
        "",
        9,
      ),
      "fail",
    ],
    ["none at all", ended("No devices were found\n", "", 6), "fail"],
    ["one that hangs", { kind: "silent", limitMs: 20_000 }, "fail"],
  ])("driver %s", (_name, driver, state) => {
    expect(judge({ driver }, "NVIDIA driver").state).toBe(state);
  });

  it.each<[string, ProgramAnswer, string]>([
    ["v2", ended('{"version":"2.24.6"}'), "ok"],
    ["none", NO_PLUGIN, "warn"],
    ["v1", ended('{"version":"1.29.2"}'), "warn"],
  ])("compose %s", (_name, compose, state) => {
    expect(judge({ compose }, "Compose").state).toBe(state);
  });

  it.each<[ContainerFacts["models"], string]>([
    [{ kind: "folder", isOpen: true, entries: 0 }, "warn"],
    [{ kind: "folder", isOpen: true, entries: null }, "ok"],
    [{ kind: "folder", isOpen: false, entries: 3 }, "fail"],
    [{ kind: "no_folder" }, "fail"],
    [{ kind: "absent" }, "fail"],
  ])("models: %j", (models, state) => {
    expect(judge({ models }, "models").state).toBe(state);
  });

  it("a port that a container has published is no mistake, that of another program is", () => {
    const of = (holder: string) =>
      judge({ ports: [{ port: 8188, kind: "taken", holder }] }, "port 8188").state;
    expect(of("process 12 (/usr/bin/docker-proxy -proto tcp -host-port 8188)")).toBe("warn");
    expect(of("process 12 (python main.py)")).toBe("fail");
    const refused = { port: 9090, kind: "refused", reason: "listen EACCES" } as const;
    expect(judge({ ports: [refused] }, "port 9090").state).toBe("fail");
  });
});
