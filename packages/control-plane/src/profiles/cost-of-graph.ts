import { createHash } from "node:crypto";
import { extractVariables, graphNeeds, type Graph } from "@holdfast/comfyui/protocol";
import { costKey, costValues } from "./cost-key.ts";
import { PROFILE_MODELS_MAX, type Profile } from "./profile.ts";

/** The cost of a graph as a submit of it would have it. */
export function costOf(graph: Graph): Pick<Profile, "costKey" | "models" | "shape" | "values"> {
  const { template, patch } = extractVariables(graph);
  const shape = sha256(JSON.stringify(template));
  const values = costValues(patch);
  const models = graphNeeds(graph).models.map(({ name }) => name);
  return {
    costKey: costKey(shape, values, sha256),
    shape,
    values,
    models: models.slice(0, PROFILE_MODELS_MAX),
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
