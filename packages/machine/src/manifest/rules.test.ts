import { describe, expect, test } from "vitest";
import { pathText, type Finding } from "@holdfast/yaml-file";
import { manifestSchema } from "./model.ts";
import { checkManifest } from "./rules.ts";
import { secretInUrl } from "./secret-rules.ts";

const COMFYUI = { repo: "https://example.com/c.git", ref: "v1" };
const ADOPTED = { adopt: { folder: "/opt/ComfyUI" } };
const hash = (letter: string): string => letter.repeat(64);
const model = (name: string, rest: object = {}): object => ({
  folder: "checkpoints",
  name,
  url: "https://example.com/m",
  sha256: hash("a"),
  ...rest,
});
const pack = (name: string): object => ({ name, repo: "https://example.com/n.git", ref: "v1" });
const shown = (findings: readonly Finding[]): readonly string[] =>
  findings.map(({ path, message }) => `${pathText(path)}: ${message}`);

function check(input: object): { problems: readonly string[]; warnings: readonly string[] } {
  const { problems, warnings } = checkManifest(manifestSchema.parse({ version: 1, ...input }));
  return { problems: shown(problems), warnings: shown(warnings) };
}
const problems = (input: object): readonly string[] => check(input).problems;
const warnings = (input: object): readonly string[] => check(input).warnings;
const has = (text: string): unknown => expect.stringContaining(text);

test("what is in order has nothing said of it", () => {
  expect(
    check({
      comfyui: COMFYUI,
      nodes: [pack("a"), pack("b")],
      models: [
        model("x", { licence: { name: "L", accepted: true } }),
        model("y", { sha256: hash("b") }),
      ],
      repositories: [
        { name: "r", ...COMFYUI, linkTo: "input/assets" },
        { name: "s", ...COMFYUI },
      ],
      modelFolders: { extraPaths: [{ name: "e", basePath: "/m", folders: {} }] },
      downloads: {
        auth: [
          { host: "huggingface.co", tokenFile: "/t" },
          { host: "[::1]:80", tokenFile: "/t" },
        ],
      },
      instances: {
        gpus: [0, "GPU-1"],
        cpu: 1,
        flags: ["--lowvram", "--preview-method", "a b", "--x=a b", "--cpu-vae"],
        env: { A: "b" },
        recycleAboveMb: 100,
        memoryLimitMb: 200,
        overrides: {
          "comfyui-gpu0": {},
          "comfyui-gpu7-mig1": {},
          "comfyui-cpu0": { flags: ["--x"] },
        },
      },
      services: [
        {
          name: "x",
          check: { url: "http://x" },
          dependsOn: ["comfyui", "installer", "comfyui-gpu0"],
        },
        { name: "y", process: { command: ["y"] }, dependsOn: ["x"] },
      ],
      health: { host: "0.0.0.0", tokenFile: "/t", port: 9_000 },
    }),
  ).toEqual({ problems: [], warnings: [] });
});

describe("content", () => {
  test("packs of one name, also in other letters, and packs without a ComfyUI", () => {
    expect(
      problems({ comfyui: COMFYUI, nodes: [pack("A"), pack("b"), pack("A"), pack("a")] }),
    ).toEqual([
      "nodes[2].name: node pack A is named twice, first in nodes[0]: give it another name",
      "nodes[3].name: node pack a and A (nodes[0]) differ in upper and lower case alone: give it another name",
    ]);
    expect(problems({ nodes: [pack("a")] })).toEqual([has("nodes: node packs need a ComfyUI")]);
  });

  test("one file asked for twice, with the same hash and with another", () => {
    expect(
      problems({
        models: [
          model("a/b"),
          model("a/b"),
          { ...model("b"), folder: "checkpoints/a", sha256: hash("b") },
        ],
      }),
    ).toEqual([
      "models[1].name: checkpoints/a/b is listed twice, first in models[0]: remove one",
      has(
        "models[2].name: checkpoints/a/b is asked for with two different SHA-256, the other in models[0]",
      ),
    ]);
  });

  test("a file where another model needs a folder", () => {
    expect(problems({ models: [model("a/b"), model("a", { sha256: hash("b") })] })).toEqual([
      "models[0].name: checkpoints/a/b needs a folder checkpoints/a, and models[1] is a file of that name: rename one",
    ]);
    expect(problems({ models: [model("a", { sha256: hash("b") }), model("ab/c")] })).toEqual([]);
  });

  test("two names for one file are a warning", () => {
    expect(check({ models: [model("a"), model("b")] })).toEqual({
      problems: [],
      warnings: [
        "models[1].sha256: checkpoints/b and checkpoints/a (models[0]) are the same file by SHA-256",
      ],
    });
    expect(warnings({ models: [model("a"), model("a")] })).toEqual([]);
  });

  test("a licence that nobody accepted stops what is needed, and is told of the rest", () => {
    const licence = { name: "NC", accepted: false };
    expect(check({ models: [model("a", { licence: { ...licence, url: "https://l" } })] })).toEqual({
      problems: [
        has(
          'models[0].licence.accepted: checkpoints/a is under the licence "NC" (https://l), which is not accepted: read it',
        ),
      ],
      warnings: [],
    });
    for (const rest of [{ optional: true }, { fetch: "on_demand" }]) {
      expect(check({ models: [model("a", { licence, ...rest })] })).toEqual({
        problems: [],
        warnings: [has('under the licence "NC", which is not accepted: it will not be fetched')],
      });
    }
  });

  test("repositories of one name and links that collide", () => {
    const at = (name: string, linkTo: string): object => ({ name, ...COMFYUI, linkTo });
    expect(
      problems({
        repositories: [
          at("a", "input/x"),
          at("A", "input/x"),
          at("c", "input/x/y"),
          at("d", "output"),
        ],
      }),
    ).toEqual([
      has("repositories[1].name: repository A and a"),
      has("repositories[1].linkTo: repositories[0] is linked to input/x as well"),
      has("repositories[3].linkTo: output is a folder that ComfyUI writes into"),
      has("repositories[2].linkTo: input/x/y is inside input/x, which is repositories[0] itself"),
    ]);
  });

  test("extra paths of one name", () => {
    const entry = { name: "e", basePath: "/m", folders: {} };
    expect(problems({ modelFolders: { extraPaths: [entry, entry] } })).toEqual([
      has("modelFolders.extraPaths[1].name: entry e is named twice"),
    ]);
  });
});

describe("python, torch and an adopted ComfyUI", () => {
  test("an adopted one keeps its environment; its packs may be listed", () => {
    expect(problems({ comfyui: ADOPTED, nodes: [pack("a")] })).toEqual([]);
    expect(
      problems({ comfyui: ADOPTED, python: { packages: ["x"] }, torch: { backend: "cpu" } }),
    ).toEqual([
      has("python: an adopted ComfyUI keeps the Python environment it has"),
      has("torch: an adopted ComfyUI keeps the Python environment it has"),
    ]);
  });

  test("no index and nothing else, or an index as well", () => {
    expect(problems({ python: { noIndex: true } })).toEqual([
      has("python.noIndex: without an index"),
    ]);
    expect(problems({ python: { noIndex: true, findLinks: ["/w"] } })).toEqual([]);
    const indexes = [{ indexUrl: "https://x" }, { extraIndexUrls: ["https://x"] }];
    for (const index of indexes) {
      expect(problems({ python: { noIndex: true, findLinks: ["/w"], ...index } })).toEqual([
        has("exclude each other"),
      ]);
    }
  });

  test("torch and GPUs fit each other", () => {
    expect(check({ torch: { backend: "cu126" }, instances: { gpus: "none" } })).toEqual({
      problems: [],
      warnings: [has("torch.backend: cu126 is a build for GPUs")],
    });
    expect(warnings({ torch: { backend: "cu126" } })).toEqual([]);
    expect(problems({ torch: { backend: "cpu" }, instances: { gpus: [0] } })).toEqual([
      has("torch.backend: a torch without GPU support cannot run"),
    ]);
    expect(warnings({ torch: { backend: "cpu" } })).toEqual([has("no GPU can be used")]);
    expect(check({ torch: { backend: "cpu" }, instances: { gpus: "none" } })).toEqual({
      problems: [],
      warnings: [],
    });
    const unused = { torch: { backend: "none", indexUrl: "https://x" } };
    expect(warnings({ comfyui: COMFYUI, ...unused })).toEqual([has("torch.indexUrl")]);
    expect(warnings(unused)).toEqual([]);
    expect(warnings({ comfyui: COMFYUI, torch: { backend: "none" } })).toEqual([]);
  });
});

describe("instances", () => {
  test("a list of GPUs names each once, by index or UUID", () => {
    expect(problems({ instances: { gpus: [] } })).toEqual([
      has("instances.gpus: the list is empty"),
    ]);
    expect(problems({ instances: { gpus: [0, 0, "GPU-a", "gpu-A", "RTX 4090"] } })).toEqual([
      has("instances.gpus[1]: GPU 0 is named twice"),
      has("instances.gpus[3]: GPU gpu-A is named twice"),
      has(
        'instances.gpus[4]: expected the index of a GPU, or a UUID as `nvidia-smi -L` tells it (GPU-…, MIG-…), found "RTX 4090"',
      ),
    ]);
  });

  test("ports end at 65535, CPU instances counted", () => {
    const at = (instances: object): readonly string[] =>
      problems({ instances: { basePort: 65_000, ...instances } });
    expect(at({ gpus: [535] })).toEqual([]);
    expect(at({ gpus: [536] })).toEqual([
      has("instances.basePort: the last instance would listen on 65536"),
    ]);
    expect(at({ gpus: [535], cpu: 1 })).toHaveLength(1);
    expect(at({ gpus: "none", cpu: 64 })).toEqual([]);
  });

  test("the health server does not take the port of an instance", () => {
    expect(problems({ health: { port: 8_188 } })).toEqual([
      has("health.port: 8188 is the port of the instance of GPU 0"),
    ]);
    expect(problems({ health: { port: 8_190 }, instances: { gpus: [2] } })).toHaveLength(1);
    expect(problems({ health: { port: 8_190 } })).toEqual([]);
  });

  test("overrides are for instances that can exist", () => {
    const of = (name: string, rest: object = {}): readonly string[] =>
      problems({ instances: { ...rest, overrides: { [name]: {} } } });
    expect(of("gpu0")).toEqual([
      "instances.overrides.gpu0: there can be no instance gpu0: expected a name like comfyui-gpu0, comfyui-gpu0-mig1 or comfyui-cpu0",
    ]);
    expect(of("comfyui-gpu00")).toHaveLength(1);
    expect(of("comfyui-gpu0", { gpus: "none" })).toEqual([has("`instances.gpus` is none")]);
    expect(of("comfyui-gpu1", { gpus: [0] })).toEqual([has("does not name GPU 1")]);
    expect(of("comfyui-gpu1", { gpus: [0, "GPU-x"] })).toEqual([]);
    expect(of("comfyui-gpu1")).toEqual([]);
    expect(of("comfyui-cpu0")).toEqual([]);
    expect(of("comfyui-cpu1")).toEqual([has("at most 1 instance without a GPU")]);
    expect(of("comfyui-cpu1", { cpu: 2 })).toEqual([]);
    expect(of("comfyui-cpu0", { cpu: 0 })).toHaveLength(1);
  });

  test.each([
    "--port",
    "--port=1",
    "--port 1",
    "--por",
    "--listen",
    "--base-directory",
    "--output-dir",
    "--input-directory=/x",
    "--temp-directory",
    "--user-directory",
    "--cpu",
    "--cuda-device",
    "--default-device",
    "--extra-model-paths-config",
    "--reserve-vram",
    "--tls-keyfile",
    "--tls-certfile",
    "--auto-launch",
    "--windows-standalone-build",
    "--quick-test-for-ci",
  ])("the argument %s is not a manifest's to give", (flag) => {
    expect(problems({ instances: { flags: ["--lowvram", flag] } })).toEqual([
      expect.stringMatching(
        /^instances\.flags\[1\]: --\S+ is set by the installer or the supervisor: use \S/,
      ),
    ]);
    expect(
      problems({ instances: { overrides: { "comfyui-gpu0": { flags: [flag] } } } }),
    ).toHaveLength(1);
  });

  test("one argument an entry", () => {
    expect(problems({ instances: { flags: ["--preview-method auto", ""] } })).toEqual([
      has('instances.flags[0]: expected one argument an entry, found "--preview-method auto"'),
      has("instances.flags[1]: an empty argument"),
    ]);
  });

  test("the device is not chosen by the environment", () => {
    const env = { cuda_visible_devices: "0", HIP_VISIBLE_DEVICES: "1", CUDA_LAUNCH_BLOCKING: "1" };
    expect(problems({ instances: { env } })).toEqual([
      has("instances.env.cuda_visible_devices"),
      has("instances.env.HIP_VISIBLE_DEVICES"),
    ]);
    expect(problems({ instances: { overrides: { "comfyui-gpu0": { env } } } })).toHaveLength(2);
  });

  test("unwise: a limit under the one for a fresh start, an open address, no instance at all", () => {
    expect(warnings({ instances: { recycleAboveMb: 200, memoryLimitMb: 200 } })).toEqual([
      has("instances.recycleAboveMb: an instance is ended at 200 MiB"),
    ]);
    expect(warnings({ instances: { recycleAboveMb: 200 } })).toEqual([]);
    expect(warnings({ instances: { host: "0.0.0.0" } })).toEqual([
      has("instances.host: ComfyUI asks nobody"),
    ]);
    const none = { gpus: "none", cpu: 0 };
    expect(warnings({ comfyui: COMFYUI, instances: none })).toEqual([
      has("no instance is started"),
    ]);
    expect(warnings({ instances: none })).toEqual([]);
  });
});

describe("services", () => {
  const check1 = { url: "http://127.0.0.1/" };
  test.each([
    "comfyui",
    "ComfyUI",
    "installer",
    "comfyui-gpu0",
    "comfyui-gpu1-mig0",
    "comfyui-cpu3",
  ])("%s is taken", (name) => {
    expect(problems({ services: [{ name, check: check1 }] })).toEqual([
      has(`services[0].name: ${name} is the name of a service of Holdfast's own`),
    ]);
  });

  test("twice the same name, and a service of which nothing could be said", () => {
    expect(problems({ services: [{ name: "a", check: check1 }, { name: "a" }] })).toEqual([
      has("services[1].name: service a is named twice"),
      has("services[1]: a has neither `process` nor `check`"),
    ]);
  });

  test("dependencies are there, enabled, and can be", () => {
    const services = (dependsOn: string[], other: object = {}): object => ({
      services: [
        { name: "a", check: check1, dependsOn },
        { name: "b", check: check1, ...other },
      ],
    });
    expect(problems(services(["c"]))).toEqual([
      "services[0].dependsOn[0]: there is no service c: known are comfyui, installer, a, b and instances (comfyui-gpu0)",
    ]);
    expect(problems({ ...services(["comfyui-gpu0"]), instances: { gpus: "none" } })).toEqual([
      has("there is no service comfyui-gpu0: `instances.gpus` is none"),
    ]);
    expect(check(services(["b"], { enabled: false }))).toEqual({
      problems: [],
      warnings: [has("services[0].dependsOn[0]: a needs b, which is not enabled")],
    });
    const offA = {
      services: [
        { name: "a", enabled: false, check: check1, dependsOn: ["b"] },
        { name: "b", enabled: false, check: check1 },
      ],
    };
    expect(check(offA)).toEqual({ problems: [], warnings: [] });
  });

  test("each circle is told once", () => {
    const of = (...pairs: [string, string[]][]): readonly string[] =>
      problems({
        services: pairs.map(([name, dependsOn]) => ({ name, check: check1, dependsOn })),
      });
    expect(of(["a", ["a"]])).toEqual([
      has("services[0].dependsOn: these services wait for each other: a needs a"),
    ]);
    expect(of(["x", ["b"]], ["a", ["b"]], ["b", ["c"]], ["c", ["a", "comfyui"]])).toEqual([
      has("services[2].dependsOn: these services wait for each other: b needs c needs a needs b"),
    ]);
    expect(of(["a", ["b", "c"]], ["b", ["d"]], ["c", ["d"]], ["d", []])).toEqual([]);
  });

  test.each(["0.0.0.0", "192.168.1.5", "::", "gpu-box", "127.0.0.1.example.com"])(
    "a health server on %s needs a token",
    (host) => {
      expect(problems({ health: { host } })).toEqual([has(`health.host: ${host} can be reached`)]);
      expect(problems({ health: { host, tokenFile: "/t" } })).toEqual([]);
    },
  );

  test.each(["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]", "LOCALHOST"])(
    "a health server on %s needs none",
    (host) => expect(problems({ health: { host } })).toEqual([]),
  );

  test("a token is for a host, and each host has one", () => {
    const auth = (...hosts: string[]): readonly string[] =>
      problems({ downloads: { auth: hosts.map((host) => ({ host, tokenFile: "/t" })) } });
    expect(auth("https://x.com", "x.com/y")).toEqual([
      has("downloads.auth[0].host: expected a host name alone"),
      has("downloads.auth[1].host: expected a host name alone"),
    ]);
    expect(auth("x.com", "X.com")).toEqual([
      has("downloads.auth[1].host: X.com has a token already"),
    ]);
  });
});

describe("secrets", () => {
  test.each([
    "https://anna:hunter2@example.com/x.git",
    "https://:hunter2@example.com/x.git",
    "ssh://git:hunter2@example.com/x",
    "https://ghp_0123456789@github.com/x/y",
    "https://oauth2:glpat-abc@gitlab.com/x",
    "https://hf_abcdefgh@huggingface.co/x",
    "https://0123456789abcdef0123456789abcdef01234567@example.com/x",
    "git+https://a@b:c@example.com/x",
    "pack @ git+https://anna:hunter2@example.com/x.git",
    "https://civitai.com/api/download/1?type=Model&token=abc",
    "https://example.com/?api_key=abc",
  ])("%s is refused, and not repeated", (url) => {
    const message = secretInUrl(url);
    expect(message).toMatch(/password or token|holds a token/);
    expect(message).not.toMatch(/hunter2|abc/);
  });

  test.each([
    "https://example.com/x.git",
    "ssh://git@example.com/x",
    "git@github.com:x/y.git",
    "https://anna@example.com/x",
    "https://anna:@example.com/x",
    "https://example.com/a@b:c/d",
    "https://example.com/x?download=true&tokenizer=1",
    "/srv/repo",
  ])("%s is all right", (url) => expect(secretInUrl(url)).toBeUndefined());

  test("everywhere a URL may stand", () => {
    const url = "https://a:b@example.com/x";
    const told = problems({
      comfyui: { repo: url, ref: "v1" },
      python: {
        indexUrl: url,
        extraIndexUrls: [url],
        findLinks: [url],
        constraints: [url],
        packages: [url],
      },
      torch: { indexUrl: url, packages: [url] },
      nodes: [{ ...pack("a"), repo: url }],
      models: [model("m", { url })],
      repositories: [{ name: "r", repo: url, ref: "v1" }],
      services: [{ name: "s", check: { url } }],
    });
    expect(told.map((one) => one.split(":")[0])).toEqual([
      "comfyui.repo",
      "python.indexUrl",
      "python.extraIndexUrls[0]",
      "python.findLinks[0]",
      "python.constraints[0]",
      "python.packages[0]",
      "torch.indexUrl",
      "torch.packages[0]",
      "nodes[0].repo",
      "models[0].url",
      "repositories[0].repo",
      "services[0].check.url",
    ]);
  });

  test("environments with what looks like a secret are a warning", () => {
    const env = { HF_TOKEN: "x", HF_TOKEN_FILE: "/t", DB_PASSWORD_PATH: "/t", PLAIN: "y" };
    expect(
      warnings({
        instances: { env, overrides: { "comfyui-gpu0": { env: { S3_SECRET: "x" } } } },
        services: [{ name: "s", process: { command: ["x"], env: { API_KEY: "x" } } }],
      }),
    ).toEqual([
      has("instances.env.HF_TOKEN: HF_TOKEN looks like a secret"),
      has("instances.overrides.comfyui-gpu0.env.S3_SECRET: S3_SECRET looks like a secret"),
      has("services[0].process.env.API_KEY"),
    ]);
  });
});
