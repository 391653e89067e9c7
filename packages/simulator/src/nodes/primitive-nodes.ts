import { primitive, V3_INFO, type InputSpec, type NodeClass } from "./node-class.ts";

/** Python's `sys.maxsize`, 2^63 - 1: JavaScript rounds it up by one. */
const MAX_INT = 2 ** 63;

function primitiveNode(
  name: string,
  displayName: string,
  type: string,
  value: InputSpec,
): NodeClass {
  return {
    name,
    displayName,
    category: "utils/primitive",
    module: "comfy_extras.nodes_primitive",
    required: { value },
    outputs: [type],
    extraInfo: V3_INFO,
    run: ({ inputs }) => {
      const given = inputs.values["value"];
      const plain = typeof given === "object" || given === undefined ? inputs.text("value") : given;
      return { outputs: [{ kind: "primitive", value: plain as string | number | boolean }] };
    },
  };
}

/** Nodes that hold one value. */
export const PRIMITIVE_NODES: readonly NodeClass[] = [
  primitiveNode(
    "PrimitiveInt",
    "Int",
    "INT",
    primitive("INT", {
      min: -MAX_INT,
      max: MAX_INT,
      control_after_generate: true,
    }),
  ),
  primitiveNode(
    "PrimitiveFloat",
    "Float",
    "FLOAT",
    primitive("FLOAT", { min: -MAX_INT, max: MAX_INT }),
  ),
  primitiveNode("PrimitiveString", "String", "STRING", primitive("STRING", { multiline: false })),
  primitiveNode(
    "PrimitiveStringMultiline",
    "String (Multiline)",
    "STRING",
    primitive("STRING", { multiline: true }),
  ),
  primitiveNode("PrimitiveBoolean", "Boolean", "BOOLEAN", primitive("BOOLEAN", {})),
];
