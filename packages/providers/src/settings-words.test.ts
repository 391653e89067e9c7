import { expect, test } from "vitest";
import { localSettingsSchema } from "./local/settings.ts";
import { runpodSettingsSchema } from "./runpod/settings.ts";
import { readSettings } from "./settings-words.ts";

const problems = (settings: unknown): readonly string[] => {
  const reading = readSettings(runpodSettingsSchema, settings, "pools.gpu.runpod");
  return reading.kind === "ok" ? [] : reading.problems;
};
const good = { apiKeyFile: "/run/secrets/runpod", image: "agent:1", gpuTypes: ["NVIDIA L40S"] };

test("what may be left out has a default", () => {
  expect(readSettings(runpodSettingsSchema, good, "runpod")).toEqual({
    kind: "ok",
    settings: {
      ...good,
      baseUrl: "https://api.runpod.io/v2",
      dataCenters: [],
      cloudType: "SECURE",
      gpuCount: 1,
      spot: "never",
      volumePath: "/workspace",
      ports: [],
      env: {},
      timeoutSeconds: 60,
    },
  });
  expect(readSettings(localSettingsSchema, {}, "local")).toEqual({
    kind: "ok",
    settings: { maxMachines: 1, env: {}, graceSeconds: 60, logMaxMb: 20, keepEnded: 5 },
  });
});

test("every key that is wrong says what was expected and found", () => {
  expect(
    problems({
      ...good,
      gpuTypes: [],
      gpuCount: "2",
      cloudType: "secure",
      volumePath: "models",
      ports: ["9090"],
      gputypes: ["x"],
      spot: "first",
      env: { "A-B": "1", N: 1, HOLDFAST_FLEET: "x" },
      volumeGb: null,
    }).toSorted(),
  ).toEqual([
    'pools.gpu.runpod.cloudType: expected SECURE or COMMUNITY, found "secure"',
    "pools.gpu.runpod.env.A-B: expected the name of an environment variable",
    "pools.gpu.runpod.env.HOLDFAST_FLEET: expected a variable that Holdfast does not set by itself",
    "pools.gpu.runpod.env.N: expected text: put numbers and true or false in quotes, found something else",
    'pools.gpu.runpod.gpuCount: expected a whole number, 1 to 16, found "2"',
    "pools.gpu.runpod.gpuTypes: expected a list of 1 to 20 texts, found a list of 0",
    'pools.gpu.runpod.gputypes: unknown key; did you mean "gpuTypes"?',
    'pools.gpu.runpod.ports.0: expected a port such as "9090/tcp", found "9090"',
    'pools.gpu.runpod.spot: expected never, or no such key: version 2 of RunPod\'s API has no spot pods, found "first"',
    "pools.gpu.runpod.volumeGb: expected a whole number, 10 to 100000, found nothing: give it a value, or remove the key",
    'pools.gpu.runpod.volumePath: expected an absolute path, found "models"',
  ]);
  expect(problems({ image: "agent:1" })).toEqual([
    "pools.gpu.runpod.gpuTypes: missing: expected a list of 1 to 20 texts",
  ]);
  expect(problems("runpod")).toEqual([
    'pools.gpu.runpod: expected a mapping of settings, found "runpod"',
  ]);
});

test("keys that contradict each other say what to do", () => {
  const rule = (settings: Readonly<Record<string, unknown>>): string | undefined =>
    problems({ ...good, ...settings })[0];
  expect(rule({ apiKey: "k" })).toContain("either `apiKeyFile` or `apiKey`");
  expect(rule({ apiKeyFile: undefined })).toContain("either `apiKeyFile` or `apiKey`");
  expect(rule({ image: undefined })).toContain("`image` or `templateId`");
  expect(rule({ volumeGb: 20, networkVolumeId: "v" })).toContain("at most one of");
  expect(rule({ baseUrl: "http://runpod.example/v2" })).toContain("https://");
  expect(rule({ baseUrl: "https://rest.runpod.io/v1" })).toContain("version 1 was retired");
  for (const baseUrl of ["http://127.0.0.1:8080/v2", "http://localhost/v2", "https://proxy/v2"]) {
    expect(rule({ baseUrl })).toBeUndefined();
  }
});

test("a key and what machines are given are shown in no problem", () => {
  const secret = "rpa_secret_".repeat(100);
  const told = problems({ ...good, apiKeyFile: undefined, apiKey: secret, env: { A: [secret] } });
  expect(told).toHaveLength(2);
  expect(told.join()).not.toContain("rpa_secret");
});

test("a process's own variables cannot be given", () => {
  const env = { HOLDFAST_HOME: "/x", HOLDFAST_LOCAL_MACHINE: "x" };
  const reading = readSettings(localSettingsSchema, { env, command: [] }, "local");
  expect(reading).toMatchObject({ kind: "refused", problems: { length: 3 } });
});
