import {
  schemaTree,
  type FileForm,
  type SchemaNode,
  type ShapeProblem,
  type UnfitChoice,
} from "@holdfast/yaml-file";
import { manifestSchema } from "./model.ts";

let tree: SchemaNode | undefined;

/** What `machine.yaml` looks like, for messages and for the reference. */
export function manifestForm(): FileForm & { readonly schema: SchemaNode } {
  // Made once, when it is first asked for.
  tree ??= schemaTree(manifestSchema);
  return { name: "machine.yaml", schema: tree, choiceWords };
}

const COMFYUI_FORMS =
  "expected either `repo` and `ref` (ComfyUI is cloned), or `adopt` (a folder that is there already)";

function choiceWords(choice: UnfitChoice): readonly ShapeProblem[] | undefined {
  const { path, value } = choice;
  if (path.length !== 1 || path[0] !== "comfyui") return undefined;
  const isMapping = typeof value === "object" && value !== null && !Array.isArray(value);
  const keys = isMapping ? Object.keys(value) : [];
  const isAdopted = keys.includes("adopt");
  const isCloned = keys.includes("repo") || keys.includes("ref");
  if (isAdopted && isCloned) {
    return [{ path, part: "key", message: `${COMFYUI_FORMS}, found both: remove one` }];
  }
  if (isCloned) return choice.problemsAs(0);
  if (isAdopted) return choice.problemsAs(1);
  // Neither: an unknown key may be a misspelt one of either form.
  const unknown = keys.map((key) => choice.unknownKey(key));
  const found = isMapping ? "neither" : choice.shown;
  return [{ path, part: "key", message: `${COMFYUI_FORMS}, found ${found}` }, ...unknown];
}
