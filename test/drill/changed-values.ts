import { isLink, type Graph } from "@holdfast/comfyui/protocol";
import type { ChangedValue } from "./record.ts";

/** Widgets of the caller's nodes that have another value in the changed graph; links are none. */
export function changedValues(from: Graph, to: Graph): readonly ChangedValue[] {
  return Object.entries(from).flatMap(([nodeId, node]) =>
    Object.entries(node.inputs).flatMap(([input, value]) => {
      const now = to[nodeId]?.inputs[input];
      if (isLink(value) || isLink(now) || now === undefined || now === value) return [];
      return [{ nodeId, input, from: value, to: now }];
    }),
  );
}
