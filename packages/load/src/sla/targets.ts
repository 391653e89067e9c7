/** What is promised of a service, and the file that says so. */
import {
  listedProblems,
  placed,
  readBySchema,
  schemaTree,
  type FileProblem,
} from "@holdfast/yaml-file";
import { z } from "zod";

/** Largest file that is read. */
export const SLA_BYTES_MAX = 64 * 1024;

const amount = z.number().min(0).max(1_000_000).nullable();

const targetsSchema = z.strictObject({
  imagesPerMinuteMin: amount
    .default(20)
    .describe("Completed images a minute in steady state, at least."),
  simultaneousBooksMin: z
    .int()
    .min(1)
    .max(10_000)
    .nullable()
    .default(5)
    .describe("Books that are rendered at a time with no other target missed, at least."),
  latencyP95SecondsMax: amount
    .default(45)
    .describe("From the request to the rendered picture's address, of 95 in 100 jobs, at most."),
  failedPercentMax: z
    .number()
    .min(0)
    .max(100)
    .nullable()
    .default(2)
    .describe("Renders that fail, time out or are refused, at most: the error budget."),
  recoverySecondsMax: amount
    .default(120)
    .describe("From the loss of a slot until it renders again, at most."),
});

const slaSchema = z.strictObject({
  targets: targetsSchema
    .prefault({})
    .describe("A target that is `null` is not judged; one that is left out has its default."),
  pagesPerBook: z.int().min(1).max(10_000).default(12).describe("Pages of a book in a trial."),
  budgetDays: z.int().min(3).max(366).default(30).describe("Days that an error budget is for."),
});

/** Targets by name; null is not judged. */
export type SlaTargets = z.infer<typeof targetsSchema>;
/** All that a file of targets says. */
export type Sla = z.infer<typeof slaSchema>;

/** What a service is measured by until somebody says otherwise. */
export const DEFAULT_SLA: Sla = slaSchema.parse({});

/** Targets, or everything that is wrong with their file. */
export type SlaReading =
  | { readonly kind: "ok"; readonly sla: Sla }
  | { readonly kind: "invalid"; readonly problems: readonly FileProblem[] };

const WORDS = {
  empty: "the file is empty: expected `targets: { latencyP95SecondsMax: 45 }` or the like",
  notMapping: "expected a mapping (`targets: …`) at the top of the file",
};

/** Reads the text of a file of targets, YAML or JSON. */
export function readSla(text: string): SlaReading {
  const form = { name: "a file of SLA targets", schema: schemaTree(slaSchema) };
  const reading = readBySchema(text, slaSchema, { form, words: WORDS, bytesMax: SLA_BYTES_MAX });
  if (reading.kind === "refused") return { kind: "invalid", problems: reading.problems };
  const { parsed, shape, places } = reading;
  if (parsed !== undefined) return { kind: "ok", sla: parsed };
  const problems = listedProblems(shape.map((one) => placed(one, places, one.part)));
  return { kind: "invalid", problems };
}
