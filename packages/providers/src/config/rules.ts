/** Rules between the keys of `fleet.yaml`. They look at what was written, whatever else is wrong with it. */
import type { ProviderKind } from "@holdfast/fleet";
import type { Finding, YamlPath } from "@holdfast/yaml-file";
import { LOCAL_MACHINES_MAX } from "../local/settings.ts";
import type { ProviderBlocks } from "./provider-blocks.ts";

type Written = Readonly<Record<string, unknown>>;

interface WrittenPool {
  readonly path: YamlPath;
  readonly value: Written;
}

/** Everything that contradicts something else. */
export function fleetRules(value: Written, blocks: ProviderBlocks): readonly Finding[] {
  const pools = writtenPools(value);
  return [
    ...doubleNames(pools),
    ...pools.flatMap((pool) => [
      ...turnedLimits(pool),
      ...narrowHost(pool),
      ...doubleVariables(pool),
      ...otherBlocks(pool, blocks),
      ...missingBlock(pool, blocks),
    ]),
  ];
}

/** Paths of the blocks that are not of their pool's provider: what is in them does not matter. */
export function otherBlockPaths(value: Written, blocks: ProviderBlocks): readonly YamlPath[] {
  return writtenPools(value).flatMap((pool) => otherBlocks(pool, blocks).map(({ path }) => path));
}

function writtenPools({ pools }: Written): readonly WrittenPool[] {
  if (!Array.isArray(pools)) return [];
  return pools.flatMap((one: unknown, index) =>
    isMapping(one) ? [{ path: ["pools", index], value: one }] : [],
  );
}

function doubleNames(pools: readonly WrittenPool[]): readonly Finding[] {
  const seen = new Map<string, YamlPath>();
  return pools.flatMap(({ path, value: { name } }): readonly Finding[] => {
    if (typeof name !== "string") return [];
    const first = seen.get(name);
    if (first === undefined) {
      seen.set(name, path);
      return [];
    }
    const message = `expected another name: pools[${first[1]}] is called ${JSON.stringify(name)} already`;
    return [{ path: [...path, "name"], message }];
  });
}

function turnedLimits({ path, value: { min, max } }: WrittenPool): readonly Finding[] {
  if (typeof min !== "number" || typeof max !== "number" || min <= max) return [];
  return [{ path: [...path, "min"], message: `expected at most \`max\` (${max}), found ${min}` }];
}

/** A pool that may have more machines than its host takes would run into that for ever. */
function narrowHost({ path, value }: WrittenPool): readonly Finding[] {
  const { provider, max, local } = value;
  if (provider !== ("local" satisfies ProviderKind) || typeof max !== "number") return [];
  const room = isMapping(local) ? local["maxMachines"] : undefined;
  if (typeof room === "number" && room < max) {
    const message = `expected at least \`max\` of the pool (${max}), found ${room}: raise it, or leave it out`;
    return [{ path: [...path, "local", "maxMachines"], message }];
  }
  if (max <= LOCAL_MACHINES_MAX) return [];
  const message = `expected at most ${LOCAL_MACHINES_MAX} machines of one host, found ${max}`;
  return [{ path: [...path, "max"], message }];
}

function doubleVariables({ path, value: { env, envFiles } }: WrittenPool): readonly Finding[] {
  if (!isMapping(env) || !isMapping(envFiles)) return [];
  return Object.keys(envFiles)
    .filter((name) => Object.hasOwn(env, name))
    .map((name) => ({
      path: [...path, "envFiles", name],
      message: "is in `env` as well: remove one of them",
    }));
}

function otherBlocks({ path, value }: WrittenPool, blocks: ProviderBlocks): readonly Finding[] {
  const { provider } = value;
  if (typeof provider !== "string" || !Object.hasOwn(blocks, provider)) return [];
  return Object.keys(blocks)
    .filter((kind) => kind !== provider && Object.hasOwn(value, kind))
    .map((kind) => ({
      path: [...path, kind],
      message: `is the block of another provider, and this pool's is ${provider}: remove it`,
    }));
}

/** A block may be left out where nothing in it is required. */
function missingBlock({ path, value }: WrittenPool, blocks: ProviderBlocks): readonly Finding[] {
  const { provider } = value;
  if (typeof provider !== "string" || !Object.hasOwn(blocks, provider)) return [];
  const block = blocks[provider as keyof ProviderBlocks];
  if (Object.hasOwn(value, provider) || block?.safeParse({}).success !== false) return [];
  const message = `missing: expected the block \`${provider}\` of its provider`;
  return [{ path: [...path, provider], message }];
}

function isMapping(value: unknown): value is Written {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
