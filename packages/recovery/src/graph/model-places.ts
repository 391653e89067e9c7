/** Where a graph names model files, and how another file is put there. */
import {
  applyPatch,
  graphNeeds,
  modelFolderOf,
  type Graph,
  type ModelNeed,
} from "@holdfast/comfyui/protocol";

/** An input that names a model file. */
export interface ModelPlace extends ModelNeed {
  readonly nodeId: string;
  readonly input: string;
}

/** One file in the place of another, wherever the graph names it. Plain JSON, kept in a recipe. */
export interface ModelReplacement {
  readonly folder: string;
  readonly from: string;
  readonly to: string;
}

/**
 * The inputs that name models, in the order of the graph. Rows of loaders that keep a name inside an
 * object (rgthree's Power Lora Loader) are needs of the graph, but no places: nothing is put there.
 */
export function modelPlaces(graph: Graph): readonly ModelPlace[] {
  const needed = new Set(graphNeeds(graph).models.map(keyOf));
  return Object.entries(graph).flatMap(([nodeId, node]) =>
    Object.entries(node.inputs).flatMap(([input, name]) => {
      const folder = modelFolderOf(node.class_type, input);
      if (folder === undefined || typeof name !== "string") return [];
      return needed.has(keyOf({ folder, name })) ? [{ nodeId, input, folder, name }] : [];
    }),
  );
}

/** The graph with another file wherever it names the one to replace. */
export function replaceModel(graph: Graph, { folder, from, to }: ModelReplacement): Graph {
  const set = modelPlaces(graph)
    .filter((place) => place.folder === folder && place.name === from)
    .map(({ nodeId, input }) => ({ nodeId, input, value: to }));
  return set.length === 0 ? graph : applyPatch(graph, { set });
}

/** A model's folder and name as one text, separators of Windows and Linux alike. */
export function keyOf({ folder, name }: ModelNeed): string {
  return `${folder}/${name.replaceAll("\\", "/")}`;
}
