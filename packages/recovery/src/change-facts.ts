import type { Graph, ModelNeed } from "@holdfast/comfyui/protocol";
import type { FailureEvidence } from "./evidence.ts";
import { findMissingModels } from "./graph/missing-models.ts";
import { keyOf, replaceModel } from "./graph/model-places.ts";
import type { ModelFacts, Recipe } from "./graph/recipe.ts";
import type { LossLevel } from "./ladder.ts";
import { wantedMemory } from "./memory-cause.ts";
import type { ChangeFacts } from "./recover.ts";

/** What is known of a failure, its job and the fleet, before it is put into the form of a decision. */
export interface KnownFacts {
  /** The caller's own graph. */
  readonly graph: Graph;
  readonly recipe: Recipe;
  readonly evidence: FailureEvidence | null;
  readonly maxLoss: LossLevel;
  /** Whether every instance that may run it has a class. */
  readonly hasClass: (classType: string) => boolean;
  /** What is missing where least is, and what is there; null when no instance has the classes. */
  readonly models: Pick<ModelFacts, "missing" | "there" | "files"> | null;
  /** The largest card that may run it, in bytes; null when one does not tell. */
  readonly largestCardBytes: number | null;
  readonly fallbackModels: readonly string[];
}

/** What a change of the graph looks at, from what is known. */
export function toChangeFacts(known: KnownFacts): ChangeFacts {
  const { graph, recipe, evidence, models, largestCardBytes } = known;
  const ran = (recipe.models ?? []).reduce(replaceModel, graph);
  const wantedBytes = evidence === null ? null : wantedMemory(evidence);
  return {
    graph,
    recipe,
    failedNodeId: evidence?.nodeId ?? null,
    hasClass: known.hasClass,
    maxLoss: known.maxLoss,
    models:
      models === null
        ? null
        : {
            missing: findMissingModels(ran, evidence, (model) => !isAmong(model, models.missing)),
            there: models.there,
            ...(models.files !== undefined && { files: models.files }),
            fallbacks: known.fallbackModels,
          },
    memory:
      wantedBytes === null || largestCardBytes === null ? null : { wantedBytes, largestCardBytes },
  };
}

function isAmong(model: ModelNeed, models: readonly ModelNeed[]): boolean {
  return models.some((one) => keyOf(one) === keyOf(model));
}
