import { DURATIONS } from "../card/work.ts";
import { digest } from "../pixels/digest.ts";
import { MAX_RESOLUTION } from "./choices.ts";
import { link, primitive, V3_INFO, type NodeCall, type NodeClass } from "./node-class.ts";
import type { ConditioningValue, WeightsValue } from "./values.ts";

function reshaped(
  from: ConditioningValue,
  ...facts: readonly (string | number | null)[]
): ConditioningValue {
  return { ...from, key: digest("conditioning", from.key, ...facts) };
}

function joined(how: string, one: ConditioningValue, two: ConditioningValue): ConditioningValue {
  return {
    kind: "conditioning",
    key: digest(how, one.key, two.key),
    models: [...one.models, ...two.models],
  };
}

function controlled(
  call: NodeCall,
  input: string,
  facts: readonly (number | null)[],
): ConditioningValue {
  const from = call.inputs.value(input, "conditioning");
  const net: WeightsValue = call.inputs.value("control_net", "weights");
  const hint = call.inputs
    .pictures("image")
    .map((picture) => picture.key)
    .join();
  return {
    kind: "conditioning",
    key: digest("control", from.key, net.key, hint, ...facts),
    models: [...from.models, net],
  };
}

/** Nodes that turn text into conditioning, and shape it. */
export const CONDITIONING_NODES: readonly NodeClass[] = [
  {
    name: "CLIPTextEncode",
    displayName: "CLIP Text Encode (Prompt)",
    category: "conditioning",
    description:
      "Encodes a text prompt using a CLIP model into an embedding that can be used to guide the diffusion model towards generating specific images.",
    required: {
      text: primitive("STRING", {
        multiline: true,
        dynamicPrompts: true,
        tooltip: "The text to be encoded.",
      }),
      clip: link("CLIP", "The CLIP model used for encoding the text."),
    },
    outputs: ["CONDITIONING"],
    outputTooltips: [
      "A conditioning containing the embedded text used to guide the diffusion model.",
    ],
    async run(call) {
      const clip = call.inputs.value("clip", "clip");
      const { loadMs } = call.useCard({
        models: [{ key: clip.weightsKey, bytes: clip.bytes }],
        workBytes: 0,
      });
      await call.spend(loadMs + call.cardMs(DURATIONS.textEncode));
      const key = digest("text", clip.key, call.inputs.text("text"));
      return { outputs: [{ kind: "conditioning", key, models: [] }] };
    },
  },
  {
    name: "CLIPSetLastLayer",
    displayName: "CLIP Set Last Layer",
    category: "conditioning",
    required: {
      clip: link("CLIP"),
      stop_at_clip_layer: primitive("INT", { default: -1, min: -24, max: -1, step: 1 }),
    },
    outputs: ["CLIP"],
    run({ inputs }) {
      const clip = inputs.value("clip", "clip");
      const layer = inputs.number("stop_at_clip_layer");
      return { outputs: [{ ...clip, key: digest("layer", clip.key, layer) }] };
    },
  },
  {
    name: "ConditioningCombine",
    displayName: "Conditioning (Combine)",
    category: "conditioning",
    required: { conditioning_1: link("CONDITIONING"), conditioning_2: link("CONDITIONING") },
    outputs: ["CONDITIONING"],
    run: ({ inputs }) => ({
      outputs: [
        joined(
          "combine",
          inputs.value("conditioning_1", "conditioning"),
          inputs.value("conditioning_2", "conditioning"),
        ),
      ],
    }),
  },
  {
    name: "ConditioningConcat",
    displayName: "Conditioning (Concat)",
    category: "conditioning",
    required: { conditioning_to: link("CONDITIONING"), conditioning_from: link("CONDITIONING") },
    outputs: ["CONDITIONING"],
    run: ({ inputs }) => ({
      outputs: [
        joined(
          "concat",
          inputs.value("conditioning_to", "conditioning"),
          inputs.value("conditioning_from", "conditioning"),
        ),
      ],
    }),
  },
  {
    name: "ConditioningSetArea",
    displayName: "Conditioning (Set Area)",
    category: "conditioning",
    required: {
      conditioning: link("CONDITIONING"),
      width: primitive("INT", { default: 64, min: 64, max: MAX_RESOLUTION, step: 8 }),
      height: primitive("INT", { default: 64, min: 64, max: MAX_RESOLUTION, step: 8 }),
      x: primitive("INT", { default: 0, min: 0, max: MAX_RESOLUTION, step: 8 }),
      y: primitive("INT", { default: 0, min: 0, max: MAX_RESOLUTION, step: 8 }),
      strength: primitive("FLOAT", { default: 1.0, min: 0.0, max: 10.0, step: 0.01 }),
    },
    outputs: ["CONDITIONING"],
    run({ inputs }) {
      const facts = ["width", "height", "x", "y", "strength"].map((name) => inputs.number(name));
      return {
        outputs: [reshaped(inputs.value("conditioning", "conditioning"), "area", ...facts)],
      };
    },
  },
  {
    name: "ConditioningZeroOut",
    displayName: "ConditioningZeroOut",
    category: "advanced/conditioning",
    required: { conditioning: link("CONDITIONING") },
    outputs: ["CONDITIONING"],
    run({ inputs }) {
      const from = inputs.value("conditioning", "conditioning");
      return { outputs: [{ ...from, key: digest("zero") }] };
    },
  },
  {
    name: "FluxGuidance",
    displayName: null,
    category: "advanced/conditioning/flux",
    module: "comfy_extras.nodes_flux",
    required: {
      conditioning: link("CONDITIONING"),
      guidance: primitive("FLOAT", { default: 3.5, min: 0.0, max: 100.0, step: 0.1 }),
    },
    outputs: ["CONDITIONING"],
    extraInfo: V3_INFO,
    run: ({ inputs }) => ({
      outputs: [
        reshaped(
          inputs.value("conditioning", "conditioning"),
          "guidance",
          inputs.number("guidance"),
        ),
      ],
    }),
  },
  {
    name: "ControlNetApply",
    displayName: "Apply ControlNet (OLD)",
    category: "conditioning/controlnet",
    required: {
      conditioning: link("CONDITIONING"),
      control_net: link("CONTROL_NET"),
      image: link("IMAGE"),
      strength: primitive("FLOAT", { default: 1.0, min: 0.0, max: 10.0, step: 0.01 }),
    },
    outputs: ["CONDITIONING"],
    extraInfo: { deprecated: true },
    run(call) {
      const strength = call.inputs.number("strength");
      return {
        outputs: [
          strength === 0
            ? call.inputs.value("conditioning", "conditioning")
            : controlled(call, "conditioning", [strength]),
        ],
      };
    },
  },
  {
    name: "ControlNetApplyAdvanced",
    displayName: "Apply ControlNet",
    category: "conditioning/controlnet",
    required: {
      positive: link("CONDITIONING"),
      negative: link("CONDITIONING"),
      control_net: link("CONTROL_NET"),
      image: link("IMAGE"),
      strength: primitive("FLOAT", { default: 1.0, min: 0.0, max: 10.0, step: 0.01 }),
      start_percent: primitive("FLOAT", { default: 0.0, min: 0.0, max: 1.0, step: 0.001 }),
      end_percent: primitive("FLOAT", { default: 1.0, min: 0.0, max: 1.0, step: 0.001 }),
    },
    optional: { vae: link("VAE") },
    outputs: ["CONDITIONING", "CONDITIONING"],
    outputNames: ["positive", "negative"],
    run(call) {
      const { inputs } = call;
      const facts = ["strength", "start_percent", "end_percent"].map((name) => inputs.number(name));
      const shape = (input: string): ConditioningValue =>
        facts[0] === 0 ? inputs.value(input, "conditioning") : controlled(call, input, facts);
      return { outputs: [shape("positive"), shape("negative")] };
    },
  },
];
