import { problemLines } from "@holdfast/yaml-file";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { z } from "zod";
import { FLEET_EXAMPLE, fleetReference } from "./fleet-reference.ts";
import { FLEET_FILE_BYTES_MAX, readFleetFile } from "./read-fleet-file.ts";

/** Blocks of the tests' own, beside the one that there is. */
const BLOCKS = {
  local: z.strictObject({ folder: z.string().default("/var/lib/machines") }),
  runpod: z.strictObject({ apiKeyFile: z.string(), gpuTypes: z.array(z.string()).default([]) }),
};
const lines = (text: string): readonly string[] => {
  const reading = readFleetFile(text, BLOCKS);
  return reading.kind === "ok" ? [] : problemLines(reading.problems, "f");
};
const readOk = (text: string) => {
  const reading = readFleetFile(text, BLOCKS);
  if (reading.kind === "invalid") throw new Error(problemLines(reading.problems, "f").join("\n"));
  return reading.config;
};
const pool = (more = ""): string =>
  `version: 1\npools:\n  - name: a\n    provider: local\n    max: 1\n${more}`;

describe("a fleet", () => {
  test("of one pool has every default", () => {
    expect(readOk(pool())).toEqual({
      fleet: "default",
      scaling: {
        targetWaitSec: 120,
        coolDownSec: 600,
        startAtOnce: 1,
        growth: 2,
        budgetPerHour: null,
      },
      pools: [
        {
          name: "a",
          provider: "local",
          min: 0,
          max: 1,
          instancesPerMachine: 1,
          startTimeoutSec: 1_800,
          progressTimeoutSec: 600,
          env: {},
          envFiles: {},
          local: { folder: "/var/lib/machines" },
        },
      ],
    });
  });

  test("has its pools in the order in which they are filled, each with its own block", () => {
    const config = readOk(`version: 1
fleet: studio-a
scaling: {budgetPerHour: null, growth: 1.5}
pools:
  - {name: b, provider: runpod, max: 2, pricePerHour: 0.69, runpod: {apiKeyFile: /key}}
  - {name: a, provider: local, min: 1, max: 1, health: {port: 9090, tokenFile: /token}}
`);
    expect(config).toMatchObject({
      fleet: "studio-a",
      scaling: { budgetPerHour: null, growth: 1.5 },
    });
    expect(config.pools.map(({ name }) => name)).toEqual(["b", "a"]);
    const [first] = config.pools;
    if (first?.provider !== "runpod") throw new Error("expected the pool of runpod");
    expect(first.runpod).toEqual({ apiKeyFile: "/key", gpuTypes: [] });
    expect(Object.keys(first)).not.toContain("local");
  });

  test("reads an empty section as one that is not there", () => {
    expect(readOk(`${pool()}scaling:\n  # nothing\n`).scaling.startAtOnce).toBe(1);
  });

  test("the example is right, and its pool is as the provider takes it", () => {
    const reading = readFleetFile(FLEET_EXAMPLE);
    expect(reading).toMatchObject({
      kind: "ok",
      config: { fleet: "studio", pools: [{ kubernetes: { gpus: 1, namespace: "render" } }] },
    });
  });
});

describe("a file", () => {
  test("that is none", () => {
    expect(lines("")).toEqual([
      "f:1:1: the file is empty: expected `version: 1` and at least one pool",
    ]);
    expect(lines("- a\n")).toEqual([
      "f:1:1: expected a mapping (`version: 1`, `pools: …`) at the top of the file",
    ]);
    expect(lines("a: [")).toEqual([expect.stringMatching(/^f:1:5: not valid YAML: /)]);
    expect(lines(`# ${"x".repeat(FLEET_FILE_BYTES_MAX)}`)).toEqual([
      `f:1:1: expected at most 1048576 bytes, found ${FLEET_FILE_BYTES_MAX + 2}`,
    ]);
  });

  test("of another version, or without pools", () => {
    expect(lines("version: 2\npools: []\n")).toEqual([
      "f:1:10: version: expected 1, found the number 2",
      "f:2:8: pools: expected a list that is not empty, found an empty list",
    ]);
    expect(lines("fleet: a\n")).toEqual([
      "f:1:1: version: missing: expected 1 (Version of this file's form)",
      "f:1:1: pools: missing: expected a list of mappings (Kinds of machines, in the order in which they are filled)",
    ]);
  });
});

describe("what is refused", () => {
  test.each<[string, string, readonly string[]]>([
    [
      "an unknown key, with the nearest",
      "    maximum: 3\n    pricePerHuor: 2\nscalling: {}\n",
      [
        'f:6:5: pools[0].maximum: unknown key "maximum"; known here: name, provider, min, max, instancesPerMachine, pricePerHour, startTimeoutSec, progressTimeoutSec, env, envFiles, health, local, runpod',
        'f:7:5: pools[0].pricePerHuor: unknown key "pricePerHuor"; did you mean "pricePerHour"?',
        'f:8:1: scalling: unknown key "scalling"; did you mean "scaling"?',
      ],
    ],
    [
      "more machines at least than at most",
      "    min: 2\n",
      ["f:6:10: pools[0].min: expected at most `max` (1), found 2"],
    ],
    [
      "an unknown provider",
      "  - {name: b, provider: runpd, max: 1}\n",
      ['f:6:25: pools[1].provider: expected local or runpod, found "runpd"'],
    ],
    [
      "two pools of one name",
      "  - {name: b, provider: local, max: 1}\n  - {name: a, provider: local, max: 1}\n",
      ['f:7:12: pools[2].name: expected another name: pools[0] is called "a" already'],
    ],
    [
      "the block of another provider, and nothing of what is in it",
      "    runpod: {nothing: 1}\n",
      [
        "f:6:13: pools[0].runpod: is the block of another provider, and this pool's is local: remove it",
      ],
    ],
    [
      "a block that is missing and cannot be",
      "  - {name: b, provider: runpod, max: 1}\n",
      ["f:6:5: pools[1].runpod: missing: expected the block `runpod` of its provider"],
    ],
    [
      "a variable that is given twice",
      "    env: {A: x}\n    envFiles: {A: /a, B: /b}\n",
      ["f:7:19: pools[0].envFiles.A: is in `env` as well: remove one of them"],
    ],
    [
      "what is wrong in the provider's own block",
      "  - {name: b, provider: runpod, max: 1, runpod: {gpuTypes: x, apikeyfiles: y}}\n",
      [
        "f:6:41: pools[1].runpod.apiKeyFile: missing: expected text",
        'f:6:60: pools[1].runpod.gpuTypes: expected a list of texts, found "x"',
        'f:6:63: pools[1].runpod.apikeyfiles: unknown key "apikeyfiles"; did you mean "apiKeyFile"?',
      ],
    ],
    [
      "a name of a variable that cannot be, without its value",
      "    env: {A-B: s3cret, C: 7}\n",
      [
        'f:6:11: pools[0].env.A-B: expected the name of an environment variable, found the key "A-B"',
        "f:6:27: pools[0].env.C: expected text, found a value that is not shown here: put it in quotes",
      ],
    ],
    [
      "a variable that every machine is given anyway",
      "    env: {HOLDFAST_FLEET: x}\n",
      [
        'f:6:11: pools[0].env.HOLDFAST_FLEET: expected a variable that Holdfast does not set by itself, found the key "HOLDFAST_FLEET"',
      ],
    ],
    [
      "a token where its file belongs",
      "    health: {port: 9090, tokenFile: s3cret}\n",
      [
        "f:6:37: pools[0].health.tokenFile: expected the absolute path of a file that holds the token; a token itself does not belong in fleet.yaml, found a value that is not shown here",
      ],
    ],
  ])("%s", (_, more, expected) => {
    expect(lines(pool(more))).toEqual(expected);
  });

  test.each(["", "A", "a_b", "-a", "a-", "a.b", "ä", "x".repeat(13)])(
    "a pool of the name %j",
    (name) => {
      const text = pool().replace("name: a", `name: ${JSON.stringify(name)}`);
      expect(lines(text)).toEqual([
        expect.stringMatching(/^f:3:11: pools\[0\]\.name: expected 1 to 12 characters of a-z/),
      ]);
    },
  );

  test("a fleet of a name that is too long", () => {
    expect(lines(`fleet: ${"a".repeat(20)}\n${pool()}`)).toEqual([]);
    expect(lines(`fleet: ${"a".repeat(21)}\n${pool()}`)).toEqual([
      expect.stringMatching(/^f:1:8: fleet: expected 1 to 20 characters/),
    ]);
  });

  test.each([
    ["targetWaitSec", 0],
    ["coolDownSec", -1],
    ["startAtOnce", 1.5],
    ["startAtOnce", 0],
    ["growth", 0.9],
    ["growth", 11],
    ["budgetPerHour", 0],
    ["budgetPerHour", '"much"'],
  ])("%s: %s", (key, wrong) => {
    expect(lines(`${pool()}scaling: {${key}: ${wrong}}\n`)).toEqual([
      expect.stringMatching(new RegExp(`^f:6:\\d+: scaling\\.${key}: expected a .*, found `)),
    ]);
  });

  test("a budget that is too large says that there need be none", () => {
    expect(lines(`${pool()}scaling: {budgetPerHour: 1e9}\n`)).toEqual([
      "f:6:26: scaling.budgetPerHour: expected a number, over 0 to 1000000, or null, found the number 1e9",
    ]);
  });

  test("everything at once, in the order of the file", () => {
    const told = lines(`version: 1
fleet: Studio
scaling: {growth: 99}
pools:
  - {name: a, provider: local, min: 3, max: 2, runpod: {}}
  - {name: a, provider: nobody, max: -1}
  - {provider: local}
`);
    expect(told.map((line) => line.split(": ").slice(0, 2).join(": "))).toEqual([
      "f:2:8: fleet",
      "f:3:19: scaling.growth",
      "f:5:37: pools[0].min",
      "f:5:56: pools[0].runpod",
      "f:6:12: pools[1].name",
      "f:6:25: pools[1].provider",
      "f:6:38: pools[1].max",
      "f:7:5: pools[2].name",
      "f:7:5: pools[2].max",
    ]);
  });
});

describe("the block of kubernetes", () => {
  const problems = (block: string): readonly string[] => {
    const text = pool().replace("local", "kubernetes");
    const reading = readFleetFile(`${text}    kubernetes: ${block}\n`);
    return reading.kind === "ok" ? [] : problemLines(reading.problems, "f");
  };

  test("is told of like any other part of the file", () => {
    expect(problems("{image: x, resources: {requests: {cpu: 4}}}")).toEqual([]);
    expect(
      problems(
        "{gpuType: [A], context: prod, resources: {limits: {nvidia.com/gpu: 1}}, tolerations: [{operator: exists}]}",
      ),
    ).toEqual([
      "f:6:5: pools[0].kubernetes.image: missing: expected text (Image with an agent in it that starts by itself)",
      'f:6:18: pools[0].kubernetes.gpuType: unknown key "gpuType"; did you mean "gpuTypes"?',
      'f:6:41: pools[0].kubernetes.context: expected none without `kubeconfig`, which it is a part of, found "prod"',
      "f:6:58: pools[0].kubernetes.resources: expected no GPUs in it: their number is `gpus`",
      'f:6:114: pools[0].kubernetes.tolerations[0].operator: expected Equal or Exists, found "exists"',
    ]);
  });
});

test("whatever a file holds, it is read or refused with places that are in it", () => {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom("local", "runpod", "kubernetes", 1, -1),
  );
  const keys = [
    "name",
    "provider",
    "min",
    "max",
    "env",
    "envFiles",
    "health",
    "kubernetes",
    "other",
  ];
  const pools = fc.array(
    fc.dictionary(
      fc.constantFrom(...keys),
      fc.oneof(
        value,
        fc.dictionary(
          fc.constantFrom(
            "image",
            "gpuTypes",
            "zones",
            "resources",
            "nodeSelector",
            "context",
            "gpuResource",
          ),
          value,
        ),
      ),
    ),
    { maxLength: 3 },
  );
  const files = fc.record({ version: fc.constantFrom(1, 2), pools: fc.oneof(pools, value) });
  fc.assert(
    fc.property(files, (file) => {
      const text = stringify(file);
      const reading = readFleetFile(text);
      if (reading.kind === "ok") return;
      const count = text.split("\n").length;
      expect(reading.problems.length).toBeGreaterThan(0);
      for (const { line, column, message } of reading.problems) {
        expect(line).toBeLessThanOrEqual(count);
        expect(column).toBeGreaterThan(0);
        expect(message).toMatch(/\S/);
      }
    }),
  );
});

test("the reference has every key, each with a type and a meaning that is a sentence", () => {
  const keys = fleetReference();
  const paths = keys.map(({ path }) => path);
  for (const path of ["scaling.budgetPerHour", "pools[].envFiles", "pools[].kubernetes.image"]) {
    expect(paths).toContain(path);
  }
  expect(new Set(paths).size).toBe(paths.length);
  expect(keys.filter(({ meaning, type }) => !/[.…]$/.test(meaning) || type === "")).toEqual([]);
});
