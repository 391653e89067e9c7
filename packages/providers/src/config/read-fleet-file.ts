import {
  listedProblems,
  placed,
  readBySchema,
  schemaTree,
  type FileProblem,
  type YamlPath,
} from "@holdfast/yaml-file";
import { fleetFileSchema, type FleetConfig, type FleetPool } from "./model.ts";
import { PROVIDER_BLOCKS, type ProviderBlocks } from "./provider-blocks.ts";
import { fleetRules, otherBlockPaths } from "./rules.ts";

/** Largest file that is read. */
export const FLEET_FILE_BYTES_MAX = 1024 * 1024;

/** A fleet that can be worked with, or everything that is wrong with its file. */
export type FleetReading<Blocks extends ProviderBlocks = typeof PROVIDER_BLOCKS> =
  | { readonly kind: "ok"; readonly config: FleetConfig<Blocks> }
  | { readonly kind: "invalid"; readonly problems: readonly FileProblem[] };

/** A pool as it is read, with the block of one of our providers. */
export type ReadPool = FleetPool<typeof PROVIDER_BLOCKS>;

const WORDS = {
  empty: "the file is empty: expected `version: 1` and at least one pool",
  notMapping: "expected a mapping (`version: 1`, `pools: …`) at the top of the file",
};

/**
 * Reads the text of `fleet.yaml`: its form, its keys and values, and the rules between them. Nothing
 * else is looked at: files that it names, and what a provider says of its pool, are others' to check.
 */
export function readFleetFile(text: string): FleetReading;
/** The same for other providers than ours. */
export function readFleetFile<Blocks extends ProviderBlocks>(
  text: string,
  blocks: Blocks,
): FleetReading<Blocks>;
export function readFleetFile(
  text: string,
  blocks: ProviderBlocks = PROVIDER_BLOCKS,
): FleetReading<ProviderBlocks> {
  const schema = fleetFileSchema(blocks);
  const form = { name: "fleet.yaml", schema: schemaTree(schema) };
  const reading = readBySchema(text, schema, {
    form,
    words: WORDS,
    bytesMax: FLEET_FILE_BYTES_MAX,
  });
  if (reading.kind === "refused") return invalid(reading.problems);
  const { value, places, parsed, shape } = reading;
  const others = otherBlockPaths(value, blocks);
  const rules = fleetRules(value, blocks);
  const problems = [
    ...shape
      .filter(({ path }) => !others.some((other) => isWithin(path, other)))
      .map((one) => placed(one, places, one.part)),
    ...rules.map((one) => placed(one, places, "value")),
  ];
  if (problems.length > 0 || parsed === undefined) return invalid(problems);
  const { fleet, scaling, pools } = parsed;
  return {
    kind: "ok",
    config: { fleet, scaling, pools: pools.map((pool) => withBlock(pool, blocks)) },
  };
}

/** A block that was left out has its defaults. */
function withBlock(
  pool: { readonly provider: string } & Readonly<Record<string, unknown>>,
  blocks: ProviderBlocks,
): FleetPool<ProviderBlocks> {
  const { provider } = pool;
  const block = pool[provider] ?? blocks[provider as keyof ProviderBlocks]?.parse({});
  // Checked by the schema, which is made of the same blocks as the type.
  return { ...pool, [provider]: block } as unknown as FleetPool<ProviderBlocks>;
}

function isWithin(path: YamlPath, outer: YamlPath): boolean {
  return outer.every((part, index) => path[index] === part);
}

function invalid(problems: readonly FileProblem[]): FleetReading<ProviderBlocks> {
  return { kind: "invalid", problems: listedProblems(problems) };
}
