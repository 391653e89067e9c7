import {
  inFileOrder,
  listedProblems,
  placed,
  PROBLEMS_MAX,
  readBySchema,
  type FileProblem,
  type Finding,
  type ShapeProblem,
} from "@holdfast/yaml-file";
import { manifestDigest } from "./manifest-digest.ts";
import { manifestForm } from "./manifest-form.ts";
import { manifestSchema, MANIFEST_VERSION, type Manifest } from "./model.ts";
import { checkManifest } from "./rules.ts";

/** Largest manifest that is read. */
export const MANIFEST_BYTES_MAX = 1024 * 1024;

/** A manifest that can be worked with, or everything that is wrong with it. */
export type ManifestReading =
  | {
      readonly kind: "ok";
      readonly manifest: Manifest;
      /** See {@link manifestDigest}. */
      readonly digest: string;
      /** Unwise, but not wrong. */
      readonly warnings: readonly FileProblem[];
    }
  | { readonly kind: "refused"; readonly problems: readonly FileProblem[] };

const WORDS = {
  empty: "the file is empty: `holdfast machine init` writes one to begin with",
  notMapping: "expected a mapping (`version: 1`, `comfyui: …`) at the top of the file",
};

/** Reads the text of `machine.yaml`: its form, its keys and values, and the rules between them. */
export function readManifest(text: string): ManifestReading {
  const kind = { form: manifestForm(), words: WORDS, bytesMax: MANIFEST_BYTES_MAX };
  const reading = readBySchema(text, manifestSchema, kind);
  if (reading.kind === "refused") return refused(reading.problems);
  const { value, places, parsed: manifest, shape } = reading;
  if (manifest === undefined) {
    const rest = rulesOfTheRest(value, shape);
    return refused([
      ...shape.slice(0, PROBLEMS_MAX + 1).map((one) => placed(one, places, one.part)),
      ...rest.slice(0, PROBLEMS_MAX).map((one) => placed(one, places, "value")),
    ]);
  }
  const { problems, warnings } = checkManifest(manifest);
  if (problems.length > 0) {
    return refused(problems.slice(0, PROBLEMS_MAX + 1).map((one) => placed(one, places, "value")));
  }
  return {
    kind: "ok",
    manifest,
    digest: manifestDigest(manifest),
    warnings: inFileOrder(warnings.map((one) => placed(one, places, "value"))),
  };
}

/**
 * Rules between the sections that have the right shape, so that a wrong type in one does not hide
 * two packs of one name in another. Sections with problems stand there as if they were in order.
 */
function rulesOfTheRest(value: object, shape: readonly ShapeProblem[]): readonly Finding[] {
  const wrong = new Set(shape.map(({ path }) => path[0]));
  const sections = Object.entries(value).filter(([name]) => !wrong.has(name));
  const rest = manifestSchema.safeParse({
    ...Object.fromEntries(sections),
    version: MANIFEST_VERSION,
    ...(wrong.has("comfyui") ? { comfyui: { repo: "/placeholder", ref: "main" } } : {}),
  });
  return rest.success ? checkManifest(rest.data).problems : [];
}

function refused(problems: readonly FileProblem[]): ManifestReading {
  return { kind: "refused", problems: listedProblems(problems) };
}
