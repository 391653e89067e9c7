import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  booleanSetting,
  choiceSetting,
  describeSettings,
  formatProblems,
  integerSetting,
  listSetting,
  optionalTextSetting,
  parseSettings,
  readSecret,
  secretSetting,
  textSetting,
} from "./config.ts";
import { controlPlaneSettings, defaultHome, readControlPlaneSettings } from "./settings.ts";

const shape = {
  port: integerSetting(
    { env: "T_PORT", flag: "port", meaning: "Port." },
    { min: 1, max: 65_535, default: 8328 },
  ),
  isOn: booleanSetting({ env: "T_ON", meaning: "Switch." }, true),
  name: textSetting({ env: "T_NAME", meaning: "Name." }, { default: "x" }),
  place: optionalTextSetting({ env: "T_PLACE", meaning: "Place." }, (value) =>
    value.startsWith("/") ? undefined : "expected a path",
  ),
  level: choiceSetting({ env: "T_LEVEL", meaning: "Level." }, ["low", "high"], "low"),
  urls: listSetting({ env: "T_URLS", meaning: "Addresses." }),
  key: secretSetting({ env: "T_KEY", meaning: "Key." }),
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-config-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("where a value comes from", () => {
  test("flag before environment before file before default", () => {
    const sources = {
      flags: { port: "1" },
      env: { T_PORT: "2", T_NAME: "env" },
      file: { T_PORT: 3, T_NAME: "file", T_ON: false },
    };
    expect(parseSettings(shape, sources)).toMatchObject({
      kind: "ok",
      settings: { port: 1, name: "env", isOn: false, level: "low", urls: [] },
    });
    expect(parseSettings(shape, { ...sources, flags: { port: undefined } })).toMatchObject({
      settings: { port: 2 },
    });
    expect(parseSettings(shape, { env: {} })).toMatchObject({
      settings: { port: 8328, isOn: true, place: undefined, key: undefined },
    });
  });

  test("an empty variable counts as not given", () => {
    const parsed = parseSettings(shape, { env: { T_PORT: "", T_PLACE: "", T_KEY: "" } });
    expect(parsed).toMatchObject({ kind: "ok", settings: { port: 8328, place: undefined } });
  });

  test.each(["true", "1", "YES", "on"])("%s means yes", (T_ON) => {
    expect(parseSettings(shape, { env: { T_ON } })).toMatchObject({ settings: { isOn: true } });
  });

  test("lists are split at commas and trimmed", () => {
    expect(parseSettings(shape, { env: { T_URLS: " a ,b,, " } })).toMatchObject({
      settings: { urls: ["a", "b"] },
    });
  });
});

describe("what is wrong", () => {
  test("every problem is told at once, with its name, its source and what was found", () => {
    const parsed = parseSettings(shape, {
      flags: { port: "70000" },
      env: { T_ON: "maybe", T_PLACE: "here", T_LEVEL: "medium" },
      file: { T_NAME: 7, T_PROT: 1 },
    });
    expect(parsed.kind === "invalid" && formatProblems(parsed.problems).split("\n")).toEqual([
      '--port (flag): expected a whole number, 1 to 65535, found "70000"',
      'T_ON (environment): expected true or false, found "maybe"',
      "T_NAME (file): expected a text, found 7",
      'T_PLACE (environment): expected a path, found "here"',
      'T_LEVEL (environment): expected one of low, high, found "medium"',
      "T_PROT (file): there is no such setting",
    ]);
  });

  test.each(["1.5", "abc", "0x10", "1e3", " ", "99999999999999999999"])(
    "%s is no port",
    (T_PORT) => {
      expect(parseSettings(shape, { env: { T_PORT } })).toMatchObject({ kind: "invalid" });
    },
  );

  test("a secret's value is never told", () => {
    const parsed = parseSettings(shape, { env: {}, file: { T_KEY: 123_456 } });
    expect(parsed.kind).toBe("invalid");
    expect(JSON.stringify(parsed)).not.toContain("123456");
  });

  test("a secret given both ways is refused", () => {
    const parsed = parseSettings(shape, { env: { T_KEY: "a", T_KEY_FILE: "/b" } });
    expect(parsed.kind === "invalid" && parsed.problems[0]?.message).toContain("T_KEY_FILE");
  });
});

test("a secret in a file is read anew each time", async () => {
  const path = join(folder, "key");
  await writeFile(path, "first\n");
  const parsed = parseSettings(shape, { env: { T_KEY_FILE: path } });
  const key = parsed.kind === "ok" ? parsed.settings.key : undefined;
  expect(key && readSecret(key)).toBe("first");
  await writeFile(path, "second\n");
  expect(key && readSecret(key)).toBe("second");
});

describe("the control plane's settings", () => {
  const facts = (env: Record<string, string | undefined> = {}) => ({
    platform: "linux",
    env: { HOLDFAST_HOME: folder, ...env },
    userFolder: "/home/anna",
  });

  test("the defaults are those that the documents promise", () => {
    const read = readControlPlaneSettings(facts());
    expect(read).toMatchObject({
      kind: "ok",
      settings: {
        home: folder,
        host: "127.0.0.1",
        port: 8328,
        leaseTtlMs: 30_000,
        pollWaitMs: 20_000,
        maxRetryAttempts: 3,
        errorRecoveryEnabled: true,
        comfyuiUrls: [],
        fallbackModels: [
          "sd_xl_base_1.0.safetensors",
          "v1-5-pruned-emaonly.ckpt",
          "anything-v4.5-pruned.ckpt",
        ],
        errorPatterns: [],
      },
    });
  });

  test("the file in the home folder counts, below the environment", async () => {
    const text = JSON.stringify({ HOLDFAST_PORT: 1234, HOLDFAST_LOG_LEVEL: "warn" });
    await writeFile(join(folder, "config.json"), text);
    expect(readControlPlaneSettings(facts({ HOLDFAST_PORT: "99" }))).toMatchObject({
      settings: { port: 99, logLevel: "warn" },
    });
  });

  test("a broken file is told beside the other problems", async () => {
    await writeFile(join(folder, "config.json"), "{");
    const read = readControlPlaneSettings(facts({ HOLDFAST_PORT: "x" }));
    expect(read.kind === "invalid" && read.problems.map((problem) => problem.name)).toEqual([
      "config.json",
      "HOLDFAST_PORT",
    ]);
  });

  test("addresses and stores are checked", () => {
    const bad = { COMFYUI_URL: "127.0.0.1:8188", HOLDFAST_STORE: "ftp://x" };
    const read = readControlPlaneSettings(facts(bad));
    expect(read.kind === "invalid" && read.problems).toHaveLength(2);
    const good = { COMFYUI_URL: "http://a:1,http://b:2", HOLDFAST_STORE: "s3://bucket/prefix" };
    expect(readControlPlaneSettings(facts(good))).toMatchObject({
      settings: { comfyuiUrls: ["http://a:1", "http://b:2"], store: "s3://bucket/prefix" },
    });
  });

  test("pauses between rounds of a book's page are seconds", () => {
    const read = (COMFY_RETRY_BACKOFF_SEC: string) =>
      readControlPlaneSettings(facts({ COMFY_RETRY_BACKOFF_SEC }));
    expect(readControlPlaneSettings(facts({}))).toMatchObject({
      settings: { bookMaxRetries: 3, bookRetryBackoffSec: ["15", "45", "90"], parallelPages: true },
    });
    expect(read("0.5, 60")).toMatchObject({ settings: { bookRetryBackoffSec: ["0.5", "60"] } });
    const bad = read("15,1m,90000");
    expect(bad.kind === "invalid" && bad.problems.map((problem) => problem.message)).toEqual([
      expect.stringContaining('expected seconds, at most 86400, found "1m"'),
      expect.stringContaining('found "90000"'),
    ]);
  });

  test("fallback models are checkpoints by name", () => {
    const read = (HOLDFAST_FALLBACK_MODELS: string) =>
      readControlPlaneSettings(facts({ HOLDFAST_FALLBACK_MODELS }));
    expect(read(" own/a.safetensors, b.ckpt ")).toMatchObject({
      settings: { fallbackModels: ["own/a.safetensors", "b.ckpt"] },
    });
    expect(read(",")).toMatchObject({ settings: { fallbackModels: [] } });
    const bad = read("a.safetensors,notes.txt,.ckpt");
    expect(bad.kind === "invalid" && bad.problems.map((problem) => problem.message)).toEqual([
      expect.stringContaining("names of checkpoint files (.safetensors, .ckpt"),
      expect.stringContaining('found ".ckpt"'),
    ]);
  });

  test("error patterns are read from their file, and all that is wrong in it is told", async () => {
    const path = join(folder, "patterns.json");
    const read = () => readControlPlaneSettings(facts({ HOLDFAST_ERROR_PATTERNS: path }));
    const problems = () => {
      const result = read();
      return result.kind === "ok" ? [] : result.problems.map((problem) => problem.message);
    };
    expect(problems()).toEqual([expect.stringMatching(/patterns\.json: cannot be read: ENOENT/)]);
    await writeFile(path, "[{");
    expect(problems()).toEqual([expect.stringMatching(/patterns\.json: is not JSON: /)]);
    await writeFile(
      path,
      JSON.stringify([{ error_type: "x y", patterns: ["("], strategy: "RETRY" }]),
    );
    expect(problems()).toEqual([
      expect.stringMatching(/patterns\.json: \[0\]\.error_type: expected a name in snake_case/),
      expect.stringMatching(/patterns\.json: \[0\]\.patterns\[0\]: expected a regular expression/),
    ]);
    await writeFile(
      path,
      JSON.stringify([{ error_type: "vendor_busy", patterns: ["busy"], strategy: "RETRY" }]),
    );
    expect(read()).toMatchObject({
      kind: "ok",
      settings: { errorPatterns: [{ name: "vendor_busy", strategy: "RETRY" }] },
    });
  });

  test("every setting can be documented, under a name of its own", () => {
    const described = describeSettings(controlPlaneSettings("/home"));
    const names = described.map((setting) => setting.env);
    expect(new Set(names).size).toBe(names.length);
    const poor = described.filter(
      ({ meaning, type, default: shown }) => !meaning.endsWith(".") || type === "" || shown === "",
    );
    expect(poor).toEqual([]);
  });

  test("the home folder is where each platform keeps a user's data", () => {
    const home = (platform: string, env: Record<string, string> = {}): string =>
      defaultHome({ platform, env, userFolder: "/home/anna" });
    expect(home("linux")).toBe("/home/anna/.local/share/holdfast");
    expect(home("linux", { XDG_DATA_HOME: "/data" })).toBe("/data/holdfast");
    expect(home("linux", { XDG_DATA_HOME: "relative" })).toBe("/home/anna/.local/share/holdfast");
    expect(home("darwin")).toBe("/home/anna/Library/Application Support/Holdfast");
    expect(home("win32", { LOCALAPPDATA: "/local" })).toBe("/local/Holdfast");
  });
});
