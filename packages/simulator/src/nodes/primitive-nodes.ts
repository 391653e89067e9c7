import { primitive, V3_INFO, type InputSpec, type NodeClass } from "./node-class.ts";

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
      min: -Number.MAX_SAFE_INTEGER,
      max: Number.MAX_SAFE_INTEGER,
      control_after_generate: true,
    }),
  ),
  primitiveNode(
    "PrimitiveFloat",
    "Float",
    "FLOAT",
    primitive("FLOAT", { min: -Number.MAX_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
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
