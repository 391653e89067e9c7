/** `fleet.yaml`: what a fleet should be. Rules between its keys are in `config/rules.ts`. */
import { z } from "zod";
import { LABEL_ENV } from "../label.ts";
import type { ProviderBlocks } from "./provider-blocks.ts";

/** Version of the file that this program reads. */
export const FLEET_FILE_VERSION = 1;
/** Longest name of a fleet, and of a pool: both are part of their machines' names. */
export const FLEET_NAME_MAX = 20;
/** See {@link FLEET_NAME_MAX}. */
export const POOL_NAME_MAX = 12;

/** Most pools of a fleet. */
const POOLS_MAX = 50;
/** Most variables of a pool. */
const ENV_MAX = 200;
/** Longest value of a variable. */
const TEXT_MAX = 4_096;
const SEC_PER_DAY = 86_400;

/** Set by every provider. */
const LABELS: ReadonlySet<string> = new Set(Object.values(LABEL_ENV));

const nameOf = (max: number) =>
  z
    .string()
    .regex(
      new RegExp(`^(?=.{1,${max}}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`),
      `expected 1 to ${max} characters of a-z, 0-9 and '-', beginning and ending with a letter or digit`,
    );
const envName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected the name of an environment variable")
  .refine((name) => !LABELS.has(name), "expected a variable that Holdfast does not set by itself");
const absolutePath = z.string().max(1_024).startsWith("/", "expected an absolute path");
const variables = <Value extends z.ZodType>(value: Value) =>
  z
    .record(envName, value)
    .refine((one) => Object.keys(one).length <= ENV_MAX, `expected at most ${ENV_MAX} variables`);
const seconds = (min: number, max: number, fallback: number) =>
  z.number().min(min).max(max).default(fallback);

const scalingSchema = z.strictObject({
  targetWaitSec: seconds(1, SEC_PER_DAY, 120).describe(
    "Seconds that jobs should not wait longer than.",
  ),
  coolDownSec: seconds(1, 7 * SEC_PER_DAY, 600).describe(
    "Seconds without work after which a machine is ended.",
  ),
  startAtOnce: z
    .int()
    .min(1)
    .max(100)
    .default(1)
    .describe("Machines that are started together while none of them has been healthy."),
  growth: z
    .number()
    .min(1)
    .max(10)
    .default(2)
    .describe("After each that came up, so many times as many are started together."),
  budgetPerHour: z
    .number()
    .positive()
    .max(1_000_000)
    .nullable()
    .default(null)
    .describe("US dollars an hour that all machines together may cost; `null`: no limit."),
});

const healthSchema = z.strictObject({
  port: z.int().min(1).max(65_535).describe("Port of the machine's health server."),
  tokenFile: absolutePath.optional().describe("File with the token that it asks for."),
});

const poolBasics = {
  name: nameOf(POOL_NAME_MAX).describe(
    `Its name, once in this file: at most ${POOL_NAME_MAX} characters of a-z, 0-9 and \`-\`.`,
  ),
  min: z.int().min(0).max(1_000).default(0).describe("Machines that are always there."),
  max: z.int().min(0).max(1_000).describe("Machines that there are at most."),
  instancesPerMachine: z
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe("ComfyUI processes of a machine: how many jobs it runs at a time."),
  pricePerHour: z
    .number()
    .min(0)
    .max(10_000)
    .optional()
    .describe("US dollars an hour of a machine, where its provider does not tell."),
  startTimeoutSec: seconds(10, SEC_PER_DAY, 1_800).describe(
    "Seconds from being asked for to being healthy; what takes longer has failed.",
  ),
  progressTimeoutSec: seconds(10, SEC_PER_DAY, 600).describe(
    "Seconds without a sign of progress meanwhile, after which it has failed.",
  ),
  env: variables(z.string().max(TEXT_MAX)).default({}).describe("Environment of its machines."),
  envFiles: variables(absolutePath)
    .default({})
    .describe("The same from files, for secrets: read when a machine is made."),
  health: healthSchema
    .optional()
    .describe("Where its machines' health is asked for; without it nobody asks."),
};

const basicsSchema = z.strictObject(poolBasics);

/** What pools of every provider have. */
export type PoolBasics = z.output<typeof basicsSchema>;

/** A pool, with the block of its provider and no other. */
export type FleetPool<Blocks extends ProviderBlocks> = {
  readonly [Kind in keyof Blocks]: PoolBasics & { readonly provider: Kind } & {
    readonly [Own in Kind]: z.output<Extract<Blocks[Own], z.ZodType>>;
  };
}[keyof Blocks];

/** What a fleet should be. */
export interface FleetConfig<Blocks extends ProviderBlocks> {
  /** Label of all its machines. */
  readonly fleet: string;
  readonly scaling: z.output<typeof scalingSchema>;
  /** In the order in which they are filled. */
  readonly pools: readonly FleetPool<Blocks>[];
}

/** The schema of the whole file for these providers. */
export function fleetFileSchema(blocks: ProviderBlocks) {
  const kinds = Object.keys(blocks);
  const ownBlocks = Object.fromEntries(
    Object.entries(blocks).map(([kind, schema]) => [
      kind,
      schema.optional().describe(`What a pool of the provider \`${kind}\` goes by.`),
    ]),
  );
  const { name, ...others } = poolBasics;
  const pool = z.strictObject({
    name,
    provider: z.enum(kinds).describe("Who has its machines."),
    ...others,
    ...ownBlocks,
  });
  return z.strictObject({
    version: z.literal(FLEET_FILE_VERSION).describe("Version of this file's form."),
    fleet: nameOf(FLEET_NAME_MAX)
      .default("default")
      .describe(
        `Label of all its machines: at most ${FLEET_NAME_MAX} characters of a-z, 0-9 and \`-\`. Two fleets of one account need two.`,
      ),
    scaling: scalingSchema.prefault({}).describe("When machines are started and ended."),
    pools: z
      .array(pool)
      .min(1)
      .max(POOLS_MAX)
      .describe("Kinds of machines, in the order in which they are filled."),
  });
}
