import { expect, it } from "vitest";
import { readFleetFile } from "./read-fleet-file.ts";

const problems = (provider: string, block: unknown): readonly string[] => {
  const pool = { name: "a", provider, max: 1, [provider]: block };
  const read = readFleetFile(JSON.stringify({ version: 1, pools: [pool] }));
  return read.kind === "ok" ? [] : read.problems.map(({ path, message }) => `${path}: ${message}`);
};
const good = { apiKeyFile: "/run/secrets/runpod", image: "agent:1", gpuTypes: ["NVIDIA L40S"] };

it("what may be left out has a default", () => {
  const pools = [
    { name: "a", provider: "runpod", max: 1, runpod: good },
    { name: "b", provider: "local", max: 1 },
  ];
  const read = readFleetFile(JSON.stringify({ version: 1, pools }));
  expect(read).toMatchObject({
    kind: "ok",
    config: {
      pools: [
        { runpod: { ...good, baseUrl: "https://api.runpod.io/v2", gpuCount: 1, ports: [] } },
        { local: { graceSeconds: 60, logMaxMb: 20, keepEnded: 5 } },
      ],
    },
  });
});

it.each([
  [{ ...good, gpuTypes: [] }, /gpuTypes: expected a list that is not empty/],
  [{ ...good, gpuCount: "2" }, /gpuCount.*expected a whole number, 1 to 16/],
  [{ ...good, cloudType: "secure" }, /cloudType.*expected SECURE or COMMUNITY/],
  [{ ...good, volumePath: "models" }, /volumePath.*expected an absolute path/],
  [{ ...good, ports: ["9090"] }, /expected a port such as "9090\/tcp"/],
  [{ ...good, spot: "first" }, /spot: expected "never"/],
  [{ ...good, gputypes: ["x"] }, /gpuTypes/],
  [{ ...good, apiKey: "k" }, /either `apiKeyFile` or `apiKey`/],
  [{ ...good, apiKeyFile: undefined }, /either `apiKeyFile` or `apiKey`/],
  [{ ...good, image: undefined }, /`image` or `templateId`/],
  [{ ...good, volumeGb: 20, networkVolumeId: "v" }, /at most one of/],
  [{ ...good, baseUrl: "http://runpod.example/v2" }, /https:\/\//],
  [{ ...good, baseUrl: "https://rest.runpod.io/v1" }, /version 1 was retired/],
])("refuses %j", (block, words) => {
  expect(problems("runpod", block).join("\n")).toMatch(words);
});

it.each(["http://127.0.0.1:8080/v2", "http://localhost/v2", "https://proxy/v2"])(
  "lets %s stand in for RunPod",
  (baseUrl) => {
    expect(problems("runpod", { ...good, baseUrl })).toEqual([]);
  },
);

it("shows no key in a problem", () => {
  const secret = "rpa_secret_".repeat(100);
  const told = problems("runpod", { ...good, apiKeyFile: undefined, apiKey: secret });
  expect(told).not.toEqual([]);
  expect(told.join()).not.toContain("rpa_secret");
});

it("a local pool has room for as many machines as it may have, or is refused in its place", () => {
  const read = (pool: string) =>
    readFleetFile(`version: 1
pools:
  - name: a
    provider: local
${pool}`);
  expect(read("    max: 3\n    local: { maxMachines: 3 }\n").kind).toBe("ok");
  expect(read("    max: 3\n    local: {}\n").kind).toBe("ok");
  expect(read("    max: 3\n    local:\n      maxMachines: 2\n")).toMatchObject({
    problems: [
      {
        line: 7,
        column: 20,
        message: "expected at least `max` of the pool (3), found 2: raise it, or leave it out",
      },
    ],
  });
  expect(read("    max: 65\n")).toMatchObject({
    problems: [
      { line: 5, column: 10, message: "expected at most 64 machines of one host, found 65" },
    ],
  });
});
