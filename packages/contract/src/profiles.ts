/** What graphs cost on which cards: `/api/v1/profiles`. */
import { z } from "zod";
import { instantSchema } from "./ids.ts";
import { graphSchema } from "./jobs.ts";
import { pageSchema } from "./pages.ts";

/** Most profiles that one request may bring. */
export const MAX_PROFILES_PER_PUT = 100;
/** Longest time that a measurement may claim. */
const LONGEST_MS = 86_400_000;
const RUNS_MAX = 1_000_000;

const measuredMs = z.number().min(0).max(LONGEST_MS);

/** One graph as it was measured on one kind of card. */
export const measuredProfileSchema = z.strictObject({
  graph: graphSchema,
  gpuName: z.string().max(256).nullable().meta({
    description: "The card, as its driver or ComfyUI names it; cpu; null: not known.",
  }),
  coldMs: measuredMs.nullable().meta({
    description: "A run that had to load its models first.",
  }),
  warmMs: measuredMs.meta({ description: "A run whose models were loaded." }),
  loadMs: measuredMs.nullable().meta({ description: "Loading the models alone." }),
  vramPeakBytes: z.int().min(0).nullable(),
  longestSilenceMs: measuredMs.nullable().meta({
    description: "Longest time between two signs of progress, over all runs.",
  }),
  runs: z.int().min(1).max(RUNS_MAX),
  measuredAt: instantSchema,
});
/** See {@link measuredProfileSchema}. */
export type MeasuredProfile = z.infer<typeof measuredProfileSchema>;

/** `PUT /api/v1/profiles`. */
export const putProfilesSchema = z.strictObject({
  profiles: z.array(measuredProfileSchema).min(1).max(MAX_PROFILES_PER_PUT),
});
/** See {@link putProfilesSchema}. */
export type PutProfiles = z.infer<typeof putProfilesSchema>;
/** Answer to it. */
export const storedProfilesSchema = z.object({ stored: z.int() });

const timesSchema = z
  .object({
    runs: z.int(),
    meanMs: z.number(),
    deviationMs: z.number().meta({ description: "Standard deviation." }),
  })
  .nullable();
const silenceMs = z.number().nullable();

/** What is known of a graph's cost on one kind of card. */
export const profileSchema = z.object({
  costKey: z.string().meta({
    description: "Names the template together with the values that decide its cost.",
  }),
  gpuName: z.string().nullable(),
  shape: z.string().meta({ description: "Hash of the template." }),
  values: z
    .array(
      z.object({
        nodeId: z.string(),
        input: z.string(),
        value: z.union([z.string(), z.number(), z.boolean()]),
      }),
    )
    .meta({ description: "The values that decide the cost: size, steps, pictures." }),
  models: z.array(z.string()),
  runs: z.int(),
  warm: timesSchema.meta({ description: "Execution with the models loaded." }),
  cold: timesSchema.meta({ description: "Execution with the models to load first." }),
  longestSilenceMs: silenceMs.meta({
    description: "Longest time between two signs of progress, of late.",
  }),
  longestWarmLoadMs: silenceMs.meta({
    description: "Longest time before the first sign of progress, with the models loaded.",
  }),
  longestColdLoadMs: silenceMs.meta({
    description: "The same with the models to load first.",
  }),
  loadMs: z.number().nullable(),
  vramPeakBytes: z.int().nullable(),
  measuredAt: instantSchema.nullable().meta({
    description: "When it was measured by hand; null: all of it is learned from jobs.",
  }),
  updatedAt: instantSchema,
});
/** See {@link profileSchema}. */
export type ProfileView = z.infer<typeof profileSchema>;
export const profilePageSchema = pageSchema(profileSchema);
