/** What is to be said of a manifest's file, beside what is in force. Pure. */
import { assertNever } from "@holdfast/runtime";
import { problemLines } from "@holdfast/yaml-file";
import { canonicalJson } from "../manifest/manifest-digest.ts";
import type { Manifest } from "../manifest/model.ts";
import type { ManifestReading } from "../manifest/read-manifest.ts";

/** The file as it is now. */
export type ManifestFileState = { readonly kind: "missing" } | ManifestReading;

/** What decides. */
export interface ManifestNoteFacts {
  readonly path: string;
  /** A file that was named has to be there. */
  readonly isNamed: boolean;
  readonly file: ManifestFileState;
  /** The manifest in force; null while there is none. */
  readonly inForce: Manifest | null;
}

const STILL = "what was in force before stays in force";

/** In lines; none when the file says what is in force, or there is nothing to say it. */
export function manifestNotes(facts: ManifestNoteFacts): readonly string[] {
  const { path, isNamed, file, inForce } = facts;
  switch (file.kind) {
    case "missing": {
      if (inForce !== null) return [`${path} is not there any more; ${STILL}`];
      const how = "`holdfast machine init` writes one to begin with";
      return isNamed ? [`${path} is not there: ${how}`] : [];
    }
    case "refused": {
      const lines = problemLines(file.problems, path);
      return inForce === null ? lines : [...lines, STILL];
    }
    case "ok": {
      // Remarks and the order of keys are nobody's wish for a change.
      if (canonicalJson(file.manifest) === canonicalJson(inForce)) return [];
      const what = inForce === null ? "is not in force yet" : "has changed since it was applied";
      return [`${path} ${what}: run holdfast machine install, or start the agent anew`];
    }
    default:
      return assertNever(file);
  }
}
