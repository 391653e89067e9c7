import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findFieldFault } from "./field-fault.ts";

const find = (nodeErrors: unknown) =>
  findFieldFault({ channel: "validation", message: "", nodeErrors });
const one = (extra_info: unknown) => ({
  "4": {
    class_type: "CheckpointLoaderSimple",
    errors: [{ type: "value_not_in_list", extra_info }],
  },
});

describe("the field at fault", () => {
  it("is what ComfyUI names, with the choices of its declaration (F5)", () => {
    const config = [["a.safetensors", "b.safetensors"], { tooltip: "…" }];
    expect(
      find(one({ input_name: "ckpt_name", input_config: config, received_value: "x.safetensors" })),
    ).toEqual({
      nodeId: "4",
      input: "ckpt_name",
      received: "x.safetensors",
      validValues: ["a.safetensors", "b.safetensors"],
    });
  });

  it("is what the agent found, with the values it thinks nearest", () => {
    expect(
      find(one({ input_name: "steps", received_value: 0, valid_values: [1, 10_000] })),
    ).toMatchObject({ received: "0", validValues: ["1", "10000"] });
  });

  it("is the first input named, whatever complaints about no input come before", () => {
    const errors = [{ type: "x" }, { extra_info: { input_name: "cfg", input_config: ["FLOAT"] } }];
    expect(find({ "9": { errors } })).toEqual({
      nodeId: "9",
      input: "cfg",
      received: null,
      validValues: [],
    });
  });

  it("is none when no input is named", () => {
    for (const odd of [undefined, null, [], "x", {}, { "4": null }, { "4": { errors: {} } }]) {
      expect(find(odd)).toBeNull();
    }
  });

  it("is bounded and never throws, whatever was sent", () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.array(fc.string({ maxLength: 400 }), { maxLength: 40 }),
        (json, list) => {
          expect(() => find(json)).not.toThrow();
          const fault = find(one({ input_name: "a", input_config: [list], received_value: json }));
          expect(fault?.validValues.length).toBeLessThanOrEqual(20);
          expect((fault?.received ?? "").length).toBeLessThanOrEqual(200);
        },
      ),
    );
  });
});
