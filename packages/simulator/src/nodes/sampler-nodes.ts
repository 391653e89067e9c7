import { samplingBytes, stepMs } from "../card/work.ts";
import { digest } from "../pixels/digest.ts";
import {
  decodeLatent,
  sampleLatent,
  usesSeedAtEveryStep,
  type Latent,
  type SamplerRun,
} from "../pixels/latent.ts";
import { MAX_SEED, SAMPLERS, SCHEDULERS } from "./choices.ts";
import { sizeOf } from "./latent-nodes.ts";
import { choice, link, primitive, type NodeCall, type NodeClass } from "./node-class.ts";
import type { ConditioningValue, ModelValue, SigmasValue } from "./values.ts";

const SEED = { default: 0, min: 0, max: MAX_SEED, control_after_generate: true };
const STEPS = { default: 20, min: 1, max: 10000 };
const CFG = { default: 8.0, min: 0.0, max: 100.0, step: 0.1, round: 0.01 };
const DENOISE = { default: 1.0, min: 0.0, max: 1.0, step: 0.01 };

interface Sampling {
  readonly model: ModelValue;
  readonly positive: ConditioningValue;
  readonly negative: ConditioningValue | null;
  readonly cfg: number;
  readonly sampler: string;
  /** Fingerprint of the schedule of steps. */
  readonly schedule: string;
  /** The seed that every step of a stochastic sampler uses. */
  readonly seed: string;
  readonly run: Omit<SamplerRun, "conditions" | "sampler">;
}

/** Samples step by step: memory first, then progress with a preview, an interrupt between steps. */
async function sample(call: NodeCall, latent: Latent, sampling: Sampling): Promise<Latent> {
  const { model, positive, negative, run } = sampling;
  const size = sizeOf(latent);
  const models = [
    { key: model.weightsKey, bytes: model.bytes },
    ...[...positive.models, ...(negative?.models ?? [])].map(({ key, bytes }) => ({ key, bytes })),
  ];
  const { offloadedShare, loadMs } = call.useCard({
    models,
    workBytes: samplingBytes(model.family, size),
  });
  await call.spend(loadMs);
  const conditions = digest(
    model.key,
    positive.key,
    negative?.key ?? null,
    sampling.cfg,
    sampling.schedule,
    usesSeedAtEveryStep(sampling.sampler) ? sampling.seed : null,
  );
  const result = sampleLatent(latent, { ...run, conditions, sampler: sampling.sampler });
  const [picture] = decodeLatent(
    { ...result, items: result.items.slice(0, 1), frames: 1 },
    "preview",
    null,
  );
  const total = Math.max(0, Math.min(run.toStep, run.steps) - run.fromStep);
  const perStep = call.cardMs(stepMs(model.family, size, offloadedShare));
  for (let step = 1; step <= total; step += 1) {
    await call.spend(perStep);
    // Without a preview there is still progress; the first picture of the batch stands for all.
    call.progress(step, total, picture === undefined ? undefined : { picture, format: "JPEG" });
  }
  return result;
}

function wholeRun(steps: number, denoise: number, seed: string | null): Sampling["run"] {
  return { steps, denoise, noiseSeed: seed, fromStep: 0, toStep: steps, keepsNoise: false };
}

function customRun(sigmas: SigmasValue, seed: string | null): Sampling["run"] {
  const { steps, fromStep, toStep, denoise } = sigmas;
  return { steps, denoise, noiseSeed: seed, fromStep, toStep, keepsNoise: toStep < steps };
}

const MODEL_SAMPLERS: readonly NodeClass[] = [
  {
    name: "KSampler",
    displayName: "KSampler",
    category: "sampling",
    description:
      "Uses the provided model, positive and negative conditioning to denoise the latent image.",
    required: {
      model: link("MODEL", "The model used for denoising the input latent."),
      seed: primitive("INT", { ...SEED, tooltip: "The random seed used for creating the noise." }),
      steps: primitive("INT", {
        ...STEPS,
        tooltip: "The number of steps used in the denoising process.",
      }),
      cfg: primitive("FLOAT", {
        ...CFG,
        tooltip:
          "The Classifier-Free Guidance scale balances creativity and adherence to the prompt. Higher values result in images more closely matching the prompt however too high values will negatively impact quality.",
      }),
      sampler_name: choice(SAMPLERS, {
        tooltip:
          "The algorithm used when sampling, this can affect the quality, speed, and style of the generated output.",
      }),
      scheduler: choice(SCHEDULERS, {
        tooltip: "The scheduler controls how noise is gradually removed to form the image.",
      }),
      positive: link(
        "CONDITIONING",
        "The conditioning describing the attributes you want to include in the image.",
      ),
      negative: link(
        "CONDITIONING",
        "The conditioning describing the attributes you want to exclude from the image.",
      ),
      latent_image: link("LATENT", "The latent image to denoise."),
      denoise: primitive("FLOAT", {
        ...DENOISE,
        tooltip:
          "The amount of denoising applied, lower values will maintain the structure of the initial image allowing for image to image sampling.",
      }),
    },
    outputs: ["LATENT"],
    outputTooltips: ["The denoised latent."],
    async run(call) {
      const { inputs } = call;
      const seed = inputs.seed("seed");
      const denoise = inputs.number("denoise");
      const result = await sample(call, inputs.latent("latent_image"), {
        model: inputs.value("model", "model"),
        positive: inputs.value("positive", "conditioning"),
        negative: inputs.value("negative", "conditioning"),
        cfg: inputs.number("cfg"),
        sampler: inputs.text("sampler_name"),
        schedule: digest(inputs.text("scheduler"), inputs.number("steps"), denoise),
        seed,
        run: wholeRun(inputs.number("steps"), denoise, seed),
      });
      return { outputs: [result] };
    },
  },
  {
    name: "KSamplerAdvanced",
    displayName: "KSampler (Advanced)",
    category: "sampling",
    required: {
      model: link("MODEL"),
      add_noise: choice(["enable", "disable"]),
      noise_seed: primitive("INT", SEED),
      steps: primitive("INT", STEPS),
      cfg: primitive("FLOAT", CFG),
      sampler_name: choice(SAMPLERS),
      scheduler: choice(SCHEDULERS),
      positive: link("CONDITIONING"),
      negative: link("CONDITIONING"),
      latent_image: link("LATENT"),
      start_at_step: primitive("INT", { default: 0, min: 0, max: 10000 }),
      end_at_step: primitive("INT", { default: 10000, min: 0, max: 10000 }),
      return_with_leftover_noise: choice(["disable", "enable"]),
    },
    outputs: ["LATENT"],
    async run(call) {
      const { inputs } = call;
      const seed = inputs.seed("noise_seed");
      const steps = inputs.number("steps");
      const result = await sample(call, inputs.latent("latent_image"), {
        model: inputs.value("model", "model"),
        positive: inputs.value("positive", "conditioning"),
        negative: inputs.value("negative", "conditioning"),
        cfg: inputs.number("cfg"),
        sampler: inputs.text("sampler_name"),
        schedule: digest(inputs.text("scheduler"), steps, 1),
        seed,
        run: {
          steps,
          denoise: 1,
          noiseSeed: inputs.text("add_noise") === "enable" ? seed : null,
          fromStep: Math.min(steps, inputs.number("start_at_step")),
          toStep: Math.min(steps, inputs.number("end_at_step")),
          keepsNoise: inputs.text("return_with_leftover_noise") === "enable",
        },
      });
      return { outputs: [result] };
    },
  },
];

const CUSTOM_SAMPLING: readonly NodeClass[] = [
  {
    name: "KSamplerSelect",
    displayName: "KSamplerSelect",
    category: "sampling/custom_sampling/samplers",
    module: "comfy_extras.nodes_custom_sampler",
    required: { sampler_name: choice(SAMPLERS) },
    outputs: ["SAMPLER"],
    run: ({ inputs }) => ({ outputs: [{ kind: "sampler", name: inputs.text("sampler_name") }] }),
  },
  {
    name: "BasicScheduler",
    displayName: "BasicScheduler",
    category: "sampling/custom_sampling/schedulers",
    module: "comfy_extras.nodes_custom_sampler",
    required: {
      model: link("MODEL"),
      scheduler: choice(SCHEDULERS),
      steps: primitive("INT", STEPS),
      denoise: primitive("FLOAT", DENOISE),
    },
    outputs: ["SIGMAS"],
    run({ inputs }) {
      const denoise = inputs.number("denoise");
      const steps = denoise <= 0 ? 0 : inputs.number("steps");
      const key = digest(inputs.text("scheduler"), steps, denoise);
      return { outputs: [{ kind: "sigmas", key, steps, fromStep: 0, toStep: steps, denoise }] };
    },
  },
  {
    name: "SplitSigmas",
    displayName: "SplitSigmas",
    category: "sampling/custom_sampling/sigmas",
    module: "comfy_extras.nodes_custom_sampler",
    required: {
      sigmas: link("SIGMAS"),
      step: primitive("INT", { default: 0, min: 0, max: 10000 }),
    },
    outputs: ["SIGMAS", "SIGMAS"],
    outputNames: ["high_sigmas", "low_sigmas"],
    run({ inputs }) {
      const sigmas = inputs.value("sigmas", "sigmas");
      const cut = Math.min(sigmas.toStep, sigmas.fromStep + inputs.number("step"));
      return {
        outputs: [
          { ...sigmas, toStep: cut },
          { ...sigmas, fromStep: cut },
        ],
      };
    },
  },
  {
    name: "RandomNoise",
    displayName: "RandomNoise",
    category: "sampling/custom_sampling/noise",
    module: "comfy_extras.nodes_custom_sampler",
    required: { noise_seed: primitive("INT", SEED) },
    outputs: ["NOISE"],
    run: ({ inputs }) => ({
      outputs: [{ kind: "noise", seed: inputs.seed("noise_seed") }],
    }),
  },
  {
    name: "DisableNoise",
    displayName: "DisableNoise",
    category: "sampling/custom_sampling/noise",
    module: "comfy_extras.nodes_custom_sampler",
    required: {},
    outputs: ["NOISE"],
    run: () => ({ outputs: [{ kind: "noise", seed: null }] }),
  },
  {
    name: "BasicGuider",
    displayName: "BasicGuider",
    category: "sampling/custom_sampling/guiders",
    module: "comfy_extras.nodes_custom_sampler",
    required: { model: link("MODEL"), conditioning: link("CONDITIONING") },
    outputs: ["GUIDER"],
    run: ({ inputs }) => ({
      outputs: [
        {
          kind: "guider",
          model: inputs.value("model", "model"),
          positive: inputs.value("conditioning", "conditioning"),
          negative: null,
          cfg: 1,
        },
      ],
    }),
  },
  {
    name: "CFGGuider",
    displayName: "CFGGuider",
    category: "sampling/custom_sampling/guiders",
    module: "comfy_extras.nodes_custom_sampler",
    required: {
      model: link("MODEL"),
      positive: link("CONDITIONING"),
      negative: link("CONDITIONING"),
      cfg: primitive("FLOAT", CFG),
    },
    outputs: ["GUIDER"],
    run: ({ inputs }) => ({
      outputs: [
        {
          kind: "guider",
          model: inputs.value("model", "model"),
          positive: inputs.value("positive", "conditioning"),
          negative: inputs.value("negative", "conditioning"),
          cfg: inputs.number("cfg"),
        },
      ],
    }),
  },
  {
    name: "SamplerCustom",
    displayName: "SamplerCustom",
    category: "sampling/custom_sampling",
    module: "comfy_extras.nodes_custom_sampler",
    required: {
      model: link("MODEL"),
      add_noise: primitive("BOOLEAN", { default: true }),
      noise_seed: primitive("INT", SEED),
      cfg: primitive("FLOAT", CFG),
      positive: link("CONDITIONING"),
      negative: link("CONDITIONING"),
      sampler: link("SAMPLER"),
      sigmas: link("SIGMAS"),
      latent_image: link("LATENT"),
    },
    outputs: ["LATENT", "LATENT"],
    outputNames: ["output", "denoised_output"],
    async run(call) {
      const { inputs } = call;
      const sigmas = inputs.value("sigmas", "sigmas");
      const seed = inputs.seed("noise_seed");
      const result = await sample(call, inputs.latent("latent_image"), {
        model: inputs.value("model", "model"),
        positive: inputs.value("positive", "conditioning"),
        negative: inputs.value("negative", "conditioning"),
        cfg: inputs.number("cfg"),
        sampler: inputs.value("sampler", "sampler").name,
        schedule: sigmas.key,
        seed,
        run: customRun(sigmas, inputs.flag("add_noise", true) ? seed : null),
      });
      return { outputs: [result, result] };
    },
  },
  {
    name: "SamplerCustomAdvanced",
    displayName: "SamplerCustomAdvanced",
    category: "sampling/custom_sampling",
    module: "comfy_extras.nodes_custom_sampler",
    required: {
      noise: link("NOISE"),
      guider: link("GUIDER"),
      sampler: link("SAMPLER"),
      sigmas: link("SIGMAS"),
      latent_image: link("LATENT"),
    },
    outputs: ["LATENT", "LATENT"],
    outputNames: ["output", "denoised_output"],
    async run(call) {
      const { inputs } = call;
      const sigmas = inputs.value("sigmas", "sigmas");
      const guider = inputs.value("guider", "guider");
      const { seed } = inputs.value("noise", "noise");
      const result = await sample(call, inputs.latent("latent_image"), {
        ...guider,
        sampler: inputs.value("sampler", "sampler").name,
        schedule: sigmas.key,
        seed: seed ?? "0",
        run: customRun(sigmas, seed),
      });
      return { outputs: [result, result] };
    },
  },
];

/** Nodes that denoise latents. */
export const SAMPLER_NODES: readonly NodeClass[] = [...MODEL_SAMPLERS, ...CUSTOM_SAMPLING];
