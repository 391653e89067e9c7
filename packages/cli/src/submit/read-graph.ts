import { parseJsonKeepingIntegers } from "@holdfast/contract";
import { fieldOf } from "../api/api-client.ts";

/** A graph as it will be sent, or why the text is none. */
export type GraphRead =
  | { readonly kind: "ok"; readonly graph: unknown }
  | { readonly kind: "bad"; readonly message: string };

/**
 * Reads a workflow file's text. The body of a `POST /prompt` is taken too: its `prompt` is the graph.
 * What the object holds is for the server to judge: it knows the words for every mistake.
 */
export function readGraph(text: string, source: string): GraphRead {
  let value: unknown;
  try {
    value = parseJsonKeepingIntegers(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const what = text.trim() === "" ? "is empty" : `is not JSON: ${reason}`;
    return {
      kind: "bad",
      message: `${source} ${what}. Expected a workflow in the API format (editor: Workflow > Export (API)).`,
    };
  }
  const prompt = fieldOf(value, "prompt");
  const isPromptBody =
    typeof prompt === "object" &&
    prompt !== null &&
    !Array.isArray(prompt) &&
    fieldOf(prompt, "class_type") === undefined;
  return { kind: "ok", graph: isPromptBody ? prompt : value };
}
