import type { z } from "zod";
import { ofWholeFile, type FileProblem } from "./file-problem.ts";
import type { YamlPath } from "./finding.ts";
import { shapeProblems, type FileForm, type ShapeProblem } from "./problem-words.ts";
import { readMapping, type MappingWords } from "./read-mapping.ts";
import type { YamlPlaces } from "./yaml-positions.ts";

/** A kind of file. */
export interface FileKind {
  readonly form: FileForm;
  readonly words: MappingWords;
  /** Largest file that is read. */
  readonly bytesMax: number;
}

/** A file with its form looked at; or why nothing of it can be. Rules between its keys are the caller's. */
export type SchemaReading<Value> =
  | { readonly kind: "refused"; readonly problems: readonly FileProblem[] }
  | {
      readonly kind: "read";
      /** As it is written, wrong or not. */
      readonly value: Readonly<Record<string, unknown>>;
      readonly places: YamlPlaces;
      /** Undefined where there are problems of its shape. */
      readonly parsed: Value | undefined;
      readonly shape: readonly ShapeProblem[];
    };

/** Reads the text of a file that people write against its schema. */
export function readBySchema<Value>(
  text: string,
  schema: z.ZodType<Value>,
  { form, words, bytesMax }: FileKind,
): SchemaReading<Value> {
  const bytes = utf8Length(text);
  if (bytes > bytesMax) {
    const message = `expected at most ${bytesMax} bytes, found ${bytes}`;
    return { kind: "refused", problems: [ofWholeFile(message)] };
  }
  const mapping = readMapping(text, form.schema, words);
  if (mapping.kind === "refused") return mapping;
  const { value, places } = mapping;
  const parsed = schema.safeParse(value);
  if (parsed.success) return { kind: "read", value, places, parsed: parsed.data, shape: [] };
  const written = { value, sourceOf: (path: YamlPath) => places.sourceOf(path) };
  const shape = shapeProblems(parsed.error.issues, written, form);
  return { kind: "read", value, places, parsed: undefined, shape };
}

/** Bytes of a text on the disk; pure code has no Buffer to ask. */
function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x1_0000 ? 3 : 4;
  }
  return bytes;
}
