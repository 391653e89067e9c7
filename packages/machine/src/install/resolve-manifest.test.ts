import { describe, expect, test } from "vitest";
import { manifestSchema } from "../manifest/model.ts";
import type { GitCache, Resolved } from "./git/git-cache.ts";
import { lockSchema, type MachineLock } from "./model.ts";
import { resolveManifest, type ResolveOptions } from "./resolve-manifest.ts";

const commit = (digit: string): string => digit.repeat(40);
const asked: string[] = [];
/** A remote that knows these refs by URL and ref; others are out of reach. */
const remote = (refs: Readonly<Record<string, string>>): GitCache => ({
  resolve: ({ url, ref }): Promise<Resolved> => {
    asked.push(url);
    const found = refs[`${url} ${ref}`];
    return Promise.resolve(
      found === undefined
        ? {
            kind: "failed",
            failure: { kind: "unreachable", message: `${url} is away`, advice: "Wait." },
          }
        : { kind: "commit", commit: found, name: ref },
    );
  },
  ensureCommit: () => Promise.reject(new Error("not here")),
});

const comfyui = { repo: "https://me:pw@h/comfyui", ref: "main" };
const pack = { name: "p", repo: "https://h/p", ref: "v1" };
const everything = {
  "https://me:pw@h/comfyui main": commit("a"),
  "https://h/p v1": commit("b"),
  "https://h/r main": commit("c"),
};
const lock: MachineLock = lockSchema.parse({
  version: 1,
  release: "r",
  manifestDigest: "d",
  createdAt: 1,
  comfyui: {
    repo: "https://h/comfyui",
    ref: "main",
    commit: commit("1"),
    adopted: null,
    version: null,
  },
  python: { executable: "/p", version: "3.11" },
  torch: { backend: "none", version: null },
  packages: {},
  nodes: [{ ...pack, commit: commit("2"), classes: [], optional: false, missing: null }],
  models: [],
  repositories: [],
  nodeClasses: [],
});

async function resolve(
  text: Record<string, unknown>,
  more: Partial<ResolveOptions> = {},
): ReturnType<typeof resolveManifest> {
  asked.splice(0);
  return await resolveManifest({
    manifest: manifestSchema.parse({ version: 1, ...text }),
    torchBackend: "none",
    lock: undefined,
    isUpdate: false,
    cache: remote(everything),
    signal: new AbortController().signal,
    ...more,
  });
}

describe("the refs of a manifest", () => {
  test("are asked for; passwords are in no plan", async () => {
    const repositories = [{ name: "r", repo: "https://h/r", ref: "main" }];
    const { inputs, problems, refs, ...rest } = await resolve({
      comfyui,
      nodes: [pack],
      repositories,
    });
    expect(problems).toEqual([]);
    expect(inputs?.comfyui).toMatchObject({ kind: "clone", commit: commit("a") });
    expect(inputs?.nodes[0]).toMatchObject({ commit: commit("b"), missing: null });
    expect(rest.repositories).toMatchObject([{ name: "r", commit: commit("c"), linkTo: null }]);
    expect(JSON.stringify(refs)).not.toContain("pw");
  });

  test("are kept as they are locked, and nobody is asked, until an update or another ref", async () => {
    const text = { comfyui, nodes: [pack] };
    const kept = await resolve(text, { lock });
    expect(asked).toEqual([]);
    expect(kept.refs.map(({ commit, from }) => [commit?.[0], from])).toEqual([
      ["1", "lock"],
      ["2", "lock"],
    ]);
    const updated = await resolve(text, { lock, isUpdate: true });
    expect(updated.refs.map(({ commit }) => commit?.[0])).toEqual(["a", "b"]);
    const other = await resolve({ comfyui, nodes: [{ ...pack, ref: "v2" }] }, { lock });
    expect(asked).toEqual([pack.repo]);
    expect(other.problems).toMatchObject([{ subject: "node p" }]);
  });

  test("that cannot be had are problems; of an optional pack a warning", async () => {
    const away = { ...pack, repo: "https://away/p" };
    const { inputs, problems } = await resolve({
      comfyui: { repo: "https://away/c", ref: "x" },
      nodes: [away],
      repositories: [{ name: "r", repo: "https://away/r", ref: "x" }],
    });
    expect(inputs).toBeNull();
    expect(problems.map(({ subject }) => subject)).toEqual(["comfyui", "node p", "repository r"]);
    const optional = { comfyui, nodes: [{ ...away, optional: true }] };
    const soft = await resolve(optional);
    expect(soft.problems).toEqual([]);
    expect(soft.warnings).toEqual(["node p is left out: https://away/p is away"]);
    expect(soft.inputs?.nodes[0]).toMatchObject({
      commit: null,
      missing: "https://away/p is away",
    });
    // In an update it stays where it was.
    const node = { ...lock.nodes[0], repo: away.repo } as MachineLock["nodes"][number];
    const update = await resolve(optional, { lock: { ...lock, nodes: [node] }, isUpdate: true });
    expect(update.inputs?.nodes[0]).toMatchObject({ commit: commit("2"), missing: null });
    expect(update.warnings.join()).toMatch(/stays as it is/);
  });

  test("without git, and a folder that cannot be adopted, are told", async () => {
    const { problems } = await resolve({ comfyui }, { cache: undefined });
    expect(problems).toMatchObject([{ subject: "comfyui", message: "git is not installed" }]);
    const adopted = await resolve({ comfyui: { adopt: { folder: "/nowhere" } } });
    expect(adopted.problems).toMatchObject([{ message: "/nowhere is not a folder" }]);
    expect((await resolve({})).inputs).toBeNull();
  });
});
