import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { problemLines } from "@holdfast/yaml-file";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MANIFEST_BYTES_MAX, readManifest } from "./read-manifest.ts";
import { readManifestFile } from "./read-manifest-file.ts";

function lines(text: string): readonly string[] {
  const reading = readManifest(text);
  return reading.kind === "ok" ? [] : problemLines(reading.problems, "m");
}

const COMFYUI = "comfyui: {repo: https://example.com/c.git, ref: v1}";
const SHA = "a".repeat(64);

describe("what can be read", () => {
  test("the smallest manifest gets every default", () => {
    const reading = readManifest("version: 1\n");
    expect(reading).toMatchObject({
      kind: "ok",
      warnings: [],
      manifest: { torch: { backend: "auto" }, instances: { basePort: 8188, gpus: "all" } },
    });
    expect(reading.kind === "ok" && reading.digest).toMatch(/^[0-9a-f]{64}$/);
  });

  test("a section whose entries are commented out is an empty one", () => {
    const reading = readManifest("version: 1\nnodes:\n  # - name: x\npython:\n");
    expect(reading).toMatchObject({
      kind: "ok",
      manifest: { nodes: [], python: { version: "3.11" } },
    });
  });

  test("anchors may be used with measure", () => {
    const text =
      "version: 1\ninstances: {env: &e {A: b}}\nservices: [{name: x, process: {command: [y], env: *e}}]";
    expect(readManifest(text)).toMatchObject({
      manifest: { services: [{ process: { env: { A: "b" } } }] },
    });
  });

  test("warnings do not refuse it, and have their places in order", () => {
    const text =
      "version: 1\ninstances:\n  host: 0.0.0.0\n  env: {API_KEY: x}\ntorch: {backend: cpu}";
    const reading = readManifest(text);
    expect(reading.kind).toBe("ok");
    expect(reading.kind === "ok" && reading.warnings.map(({ line, path }) => [line, path])).toEqual(
      [
        [3, "instances.host"],
        [4, "instances.env.API_KEY"],
        [5, "torch.backend"],
      ],
    );
  });
});

describe("the text", () => {
  test("an empty file, only comments, a list, a text", () => {
    for (const text of ["", "# nothing\n", "---\n", "~"]) {
      expect(lines(text)).toEqual([
        "m:1:1: the file is empty: `holdfast machine init` writes one to begin with",
      ]);
    }
    for (const text of ["- version: 1", "version", "5"]) {
      expect(lines(text)).toEqual([
        "m:1:1: expected a mapping (`version: 1`, `comfyui: …`) at the top of the file",
      ]);
    }
  });

  test("over the limit of size nothing is parsed", () => {
    const text = `# ${"é".repeat(MANIFEST_BYTES_MAX / 2)}\nversion: 1\n`;
    expect(lines(text)).toEqual([expect.stringContaining("expected at most 1048576 bytes, found")]);
  });

  test("all keys that are there twice, with the line of the first", () => {
    expect(lines("version: 1\ntorch:\n  backend: cpu\n  backend: auto\nversion: 1\n")).toEqual([
      'm:4:3: the key "backend" is in line 3 already: remove one of them',
      'm:5:1: the key "version" is in line 1 already: remove one of them',
    ]);
  });

  test("tabs, two documents, tags and broken YAML are told by line and column", () => {
    expect(lines("torch:\n\tbackend: cpu")).toContain("m:2:1: tabs cannot indent YAML: use spaces");
    expect(lines("version: 1\n---\nversion: 1")).toEqual([
      "m:2:1: expected one document, found a second one (`---`): remove it",
    ]);
    expect(lines("version: !!js/function 1")[0]).toContain(
      "m:1:10: tags (`!name`) are not supported",
    );
    expect(lines('version: "1')[0]).toMatch(/^m:1:12: not valid YAML: Missing closing/);
  });

  test("aliases that grow without measure are refused", () => {
    const bomb = ["a: &a0 [x, x, x, x, x, x, x, x, x]"];
    for (let n = 1; n < 9; n += 1) {
      bomb.push(`b${n}: &a${n} [${Array.from({ length: 9 }, () => `*a${n - 1}`).join(", ")}]`);
    }
    expect(lines(bomb.join("\n"))).toEqual([expect.stringContaining("anchors and aliases")]);
    expect(lines("version: 1\ntorch: &t {packages: [*t]}")[0]).toContain("expected text");
    expect(lines("version: *nothing")).toEqual([expect.stringContaining("nothing")]);
  });

  test.each([
    ["brackets", "[".repeat(100_000), "m:1:51"],
    ["braces", "x:\n  {a: ".padEnd(10) + "{a: ".repeat(100), "m:2:"],
    ["dashes", "- ".repeat(100_000), "m:1:101"],
    ["question marks", "? ".repeat(60), "m:1:101"],
    [
      "indentation",
      Array.from({ length: 1_000 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
      "m:202:1",
    ],
  ])("too deep a nest of %s is refused before the parser", (_, text, at) => {
    expect(lines(text)).toEqual([expect.stringMatching(new RegExp(`^${at}.*nested too deeply`))]);
  });

  test("brackets and deep lines inside texts are no nests", () => {
    const block = `${" ".repeat(300)}far in`;
    const text = `version: 1\n# ${"[".repeat(60)}\ninstances:\n  env:\n    A: "${"[".repeat(60)}"\n    B: |\n      x\n${block}\n    C: [}`;
    expect(lines(text.replace("\n    C: [}", ""))).toEqual([]);
    expect(lines(`version: 1\ninstances: {flags: [${"[],".repeat(60)}]}`)[0]).toContain(
      "expected text",
    );
    expect(lines("a: ]\nb: }")).not.toEqual([]);
  });

  test("more problems than can be read are cut, and that is said", () => {
    const text = Array.from({ length: 300 }, (_, index) => `k${index}: 1`).join("\n");
    const told = lines(text);
    expect(told).toHaveLength(101);
    expect(told.at(-1)).toContain("more than 100 problems");
  });

  test("any text is read or refused in words, never thrown at", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 200 }),
      fc
        .array(
          fc.constantFrom(
            "version",
            ":",
            " ",
            "1",
            "\n",
            "- ",
            "[",
            "}",
            "&a",
            "*a",
            "null",
            "  ",
            '"',
            "#",
            "!!x",
            "nodes",
            "comfyui",
          ),
          { maxLength: 60 },
        )
        .map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, (one) => {
        const reading = readManifest(one);
        if (reading.kind === "ok") return;
        expect(reading.problems.length).toBeGreaterThan(0);
        for (const problem of reading.problems) {
          expect(problem.line).toBeGreaterThanOrEqual(1);
          expect(problem.column).toBeGreaterThanOrEqual(1);
          expect(problem.message).not.toMatch(
            /Invalid (?:input|option)|Too (?:big|small)|undefined/,
          );
        }
      }),
      { numRuns: 300 },
    );
  }, 60_000);
});

describe("keys", () => {
  test("an unknown key is told at its place, with the one that was meant", () => {
    expect(
      lines(`version: 1\ninstances:\n  base_port: 9000\n  gpu: all\nnodez: []\nzzzzzzzz: 1\n`),
    ).toEqual([
      'm:3:3: instances.base_port: unknown key "base_port"; did you mean "basePort"?',
      'm:4:3: instances.gpu: unknown key "gpu"; did you mean "gpus"?',
      'm:5:1: nodez: unknown key "nodez"; did you mean "nodes"?',
      expect.stringContaining(
        'm:6:1: zzzzzzzz: unknown key "zzzzzzzz"; known here: version, comfyui,',
      ),
    ]);
  });

  test("an unknown key without a value is not taken for an empty section", () => {
    expect(lines("version: 1\nnods:\n")).toEqual([
      expect.stringContaining('did you mean "nodes"?'),
    ]);
  });

  test("merge keys, keys of another type and __proto__ are unknown keys", () => {
    expect(lines("version: 1\ninstances:\n  <<: {threads: 1}\n")).toEqual([
      'm:3:3: instances["<<"]: merge keys (`<<`) are not supported: write the keys out',
    ]);
    expect(lines("version: 1\n__proto__: {x: 1}\n")).toEqual([
      expect.stringContaining('unknown key "__proto__"'),
    ]);
    expect(lines("version: 1\n[a, b]: c\n")).toEqual([
      expect.stringContaining('unknown key "[ a, b ]"'),
    ]);
    expect(lines("version: 1\n5: c\n")).toEqual([
      'm:2:1: ["5"]: ' +
        'unknown key "5"; known here: version, comfyui, python, torch, nodes, models, modelFolders, repositories, downloads, instances, services, health',
    ]);
  });

  test("what is missing is told at what lacks it, with its meaning", () => {
    expect(
      lines(
        `version: 1\n${COMFYUI}\nnodes:\n  - name: a\n    repo: /x\nmodels:\n  - {folder: f, name: n, url: "https://x/y"}\n`,
      ),
    ).toEqual([
      "m:4:5: nodes[0].ref: missing: expected text (A branch, tag or commit)",
      expect.stringContaining(
        "m:7:5: models[0].sha256: missing: expected text (SHA-256 of the file",
      ),
    ]);
    expect(lines(COMFYUI)).toEqual([
      "m:1:1: version: missing: expected 1 (Version of this file's form)",
    ]);
  });

  test("a name that cannot be a key of a mapping of names", () => {
    expect(lines("version: 1\ninstances:\n  env: {1A: x}\n  overrides: {-x: {}}\n")).toEqual([
      'm:3:9: instances.env["1A"]: expected the name of an environment variable, found the key "1A"',
      expect.stringMatching(
        /^m:4:15: instances\.overrides\["-x"\]: expected letters.*found the key "-x"/,
      ),
    ]);
  });
});

describe("values", () => {
  test("types: what was expected and what was found, all at once", () => {
    const text = `version: 2
python:
  version: 3.10
torch: cpu
downloads: {parallel: 0, keepFreeBytes: 1.5}
instances:
  threads: many
  vramReserveGb: -1
  startTimeoutSec: 0
  flags: --lowvram
  overrides: []
health:
  port: 70000
nodes:
  - {name: a, repo: /r, ref: 1234567, optional: yes, classes: {}}
`;
    expect(lines(text)).toEqual([
      "m:1:10: version: expected 1, found the number 2",
      "m:3:12: python.version: expected text, found the number 3.10: put it in quotes",
      'm:4:8: torch: expected a mapping, found "cpu"',
      "m:5:23: downloads.parallel: expected a whole number, 1 to 32, found the number 0",
      "m:5:41: downloads.keepFreeBytes: expected a whole number, 0 or more, found the number 1.5",
      'm:7:12: instances.threads: expected a whole number, 1 to 1024, found "many"',
      "m:8:18: instances.vramReserveGb: expected a number, 0 to 1024, found the number -1",
      "m:9:20: instances.startTimeoutSec: expected a number, over 0 to 86400, found the number 0",
      'm:10:10: instances.flags: expected a list of texts, found "--lowvram"',
      "m:11:14: instances.overrides: expected a mapping of names to mappings, found an empty list",
      "m:13:9: health.port: expected a whole number, 0 to 65535, found the number 70000",
      "m:15:30: nodes[0].ref: expected text, found the number 1234567: put it in quotes",
      'm:15:49: nodes[0].optional: expected true or false, found "yes"',
      "m:15:63: nodes[0].classes: expected a list of texts, found a mapping",
    ]);
  });

  test("a value that was left out, too short or too long a text, too many entries", () => {
    expect(
      lines(
        `version: 1\npython:\n  version: ""\n  indexUrl:\ntorch: {packages: [${"a,".repeat(21)}]}\ninstances: {host: ${"h".repeat(300)}}\nservices: [{name: x, process: {command: []}}]`,
      ),
    ).toEqual([
      'm:3:12: python.version: expected a text that is not empty, found ""',
      expect.stringMatching(
        /python\.indexUrl: expected text, found nothing: give it a value, or remove the key/,
      ),
      "m:5:19: torch.packages: expected at most 20 entries, found a list",
      expect.stringContaining('instances.host: expected at most 253 characters, found "hhh'),
      "m:7:41: services[0].process.command: expected a list that is not empty, found an empty list",
    ]);
  });

  test("patterns speak for themselves", () => {
    expect(
      lines(
        `version: 1\nmodels: [{folder: ../x, name: /etc/passwd, url: ftp://x/y, sha256: abc, fetch: later}]\ntorch: {backend: cuda}\nmodelFolders: {root: models}`,
      ),
    ).toEqual([
      expect.stringMatching(/folder: expected a relative path.*found "\.\.\/x"/),
      expect.stringMatching(/name: expected a relative path.*found "\/etc\/passwd"/),
      expect.stringMatching(/url: expected an http:\/\/.*found "ftp:\/\/x\/y"/),
      expect.stringMatching(/sha256: expected the SHA-256 as 64 hexadecimal digits, found "abc"/),
      expect.stringMatching(/fetch: expected always or on_demand, found "later"/),
      expect.stringMatching(/torch\.backend: expected auto, none, cpu.*found "cuda"/),
      expect.stringMatching(/modelFolders\.root: expected an absolute path, found "models"/),
    ]);
  });

  test("a number that was written in another way is shown as it was written", () => {
    expect(
      lines(
        `version: 1\nmodels: [{folder: f, name: n, url: "file:///x", sha256: ${"1".repeat(64)}}]`,
      )[0],
    ).toContain(`found the number ${"1".repeat(64)}: put it in quotes`);
    expect(lines("version: 1\npython: {version: True}")[0]).toContain(
      "found True: put it in quotes",
    );
  });
});

describe("choices", () => {
  const forms =
    "expected either `repo` and `ref` (ComfyUI is cloned), or `adopt` (a folder that is there already)";
  test("comfyui is cloned or adopted, and what is said fits the one that was meant", () => {
    expect(lines("version: 1\ncomfyui: {repo: nowhere}")).toEqual([
      "m:2:1: comfyui.ref: missing: expected text (A branch, tag or commit)",
      expect.stringMatching(/^m:2:17: comfyui\.repo: expected a git URL.*found "nowhere"/),
    ]);
    expect(lines("version: 1\ncomfyui: {ref: 5}")).toHaveLength(2);
    expect(lines("version: 1\ncomfyui:\n  adopt: {path: /x}")).toEqual([
      expect.stringContaining("m:3:3: comfyui.adopt.folder: missing: expected text (Where its"),
      expect.stringContaining(
        'm:3:11: comfyui.adopt.path: unknown key "path"; known here: folder, python',
      ),
    ]);
    expect(lines("version: 1\ncomfyui: {repo: /x, ref: a, adopt: {folder: /x}}")).toEqual([
      `m:2:1: comfyui: ${forms}, found both: remove one`,
    ]);
    expect(lines("version: 1\ncomfyui: {}")).toEqual([`m:2:1: comfyui: ${forms}, found neither`]);
    expect(lines("version: 1\ncomfyui: {rep: /x}")).toEqual([
      `m:2:1: comfyui: ${forms}, found neither`,
      'm:2:11: comfyui.rep: unknown key "rep"; did you mean "repo"?',
    ]);
    expect(lines("version: 1\ncomfyui: v0.3.64")).toEqual([
      `m:2:1: comfyui: ${forms}, found "v0.3.64"`,
    ]);
  });

  test("gpus and cpu", () => {
    expect(lines("version: 1\ninstances: {gpus: some, cpu: 1.5}")).toEqual([
      'm:2:19: instances.gpus: expected all or none, or a list of whole numbers and texts, found "some"',
      'm:2:30: instances.cpu: expected "auto", or a whole number, 0 to 64, found the number 1.5',
    ]);
    expect(lines("version: 1\ninstances: {gpus: [-1, true], cpu: 100}")).toEqual([
      "m:2:20: instances.gpus[0]: expected a whole number, 0 or more, or text, found the number -1",
      "m:2:24: instances.gpus[1]: expected a whole number, 0 or more, or text, found true",
      'm:2:36: instances.cpu: expected "auto", or a whole number, 0 to 64, found the number 100',
    ]);
  });
});

describe("secrets", () => {
  test("no message repeats what may be one", () => {
    const text = `version: 1
comfyui: {repo: "ftp://anna:hunter2@example.com/x", ref: v1}
downloads: {auth: [{host: h, tokenFile: hf_verysecret}]}
health: {tokenFile: tok-verysecret}
instances: {env: {HF_TOKEN: 123456789, X: 5}}
models: [{folder: f, name: n, url: "ftp://x/y?token=verysecret", sha256: a}]
`;
    const told = lines(text).join("\n");
    expect(told).not.toMatch(/hunter2|verysecret|123456789/);
    expect(told).toContain("a token itself does not belong in machine.yaml");
    expect(told).toContain("found a value that is not shown here");
    expect(told).toContain("…@example.com");
  });
});

test("a wrong type in one section does not hide what is wrong between the others", () => {
  const text = `version: 1
comfyui: {repo: 5, ref: v1}
torch: {backend: [1]}
nodes:
  - {name: a, repo: /a, ref: b}
  - {name: A, repo: /a, ref: b}
models:
  - {folder: f, name: n, url: "https://x/y", sha256: ${SHA}}
  - {folder: f, name: n, url: "https://x/y", sha256: ${SHA}}
`;
  expect(lines(text).map((line) => line.split(": ")[1])).toEqual([
    "comfyui.repo",
    "torch.backend",
    "nodes[1].name",
    "models[1].name",
  ]);
});

describe("from a file", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "holdfast-manifest-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  const told = async (path: string): Promise<string> => {
    const reading = await readManifestFile(path);
    return reading.kind === "ok" ? "ok" : reading.problems.map(({ message }) => message).join("\n");
  };

  test("is read, or refused in words", async () => {
    const path = join(folder, "machine.yaml");
    expect(await told(path)).toContain("there is no file");
    await writeFile(path, "version: 1\n");
    expect(await told(path)).toBe("ok");
    await writeFile(path, Buffer.from([0xff, 0xfe, 0x00]));
    expect(await told(path)).toContain("not a text in UTF-8");
    await writeFile(path, "é".repeat(MANIFEST_BYTES_MAX));
    expect(await told(path)).toContain("expected at most 1048576 bytes");
    expect(await told(folder)).toContain("is a folder");
    expect(await told(join(path, "x"))).toContain("cannot be read");
  });
});
