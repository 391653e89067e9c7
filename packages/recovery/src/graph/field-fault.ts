import type { FailureEvidence } from "../evidence.ts";

/** Which input of a graph is at fault, and what would be valid there. */
export interface FieldFault {
  readonly nodeId: string;
  readonly input: string;
  /** The value that was refused, as short text; null when it is not told. */
  readonly received: string | null;
  /** Some of the values that would be valid, the most similar first; empty when none are told. */
  readonly validValues: readonly string[];
}

/** Most valid values that are kept, and longest text of a value. */
const VALUES_MAX = 20;
const TEXT_MAX = 200;

/**
 * Reads the first input that a validation complained about, from ComfyUI's own `node_errors` (their
 * `extra_info` names the input, the value and, for lists, the choices: F5) or from the agent's, which
 * look alike. Null when no input is named.
 */
export function findFieldFault({ nodeErrors }: FailureEvidence): FieldFault | null {
  for (const [nodeId, node] of Object.entries(recordOf(nodeErrors))) {
    const { errors } = recordOf(node);
    for (const error of Array.isArray(errors) ? errors : []) {
      const extra = recordOf(recordOf(error)["extra_info"]);
      const input = extra["input_name"];
      if (typeof input !== "string") continue;
      const received = extra["received_value"];
      return {
        nodeId,
        input,
        received: received === undefined || received === null ? null : textOf(received),
        validValues: validOf(extra).slice(0, VALUES_MAX).map(textOf),
      };
    }
  }
  return null;
}

/** The agent names them itself; ComfyUI gives the input's whole declaration, its choices first. */
function validOf(extra: Readonly<Record<string, unknown>>): readonly unknown[] {
  const own = extra["valid_values"];
  if (Array.isArray(own)) return own;
  const config = extra["input_config"];
  const choices: unknown = Array.isArray(config) ? config[0] : undefined;
  return Array.isArray(choices) ? choices : [];
}

function textOf(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.slice(0, TEXT_MAX).toWellFormed();
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}
