/** Model folders by class and input, for classes whose input names say too little alone. */
export const MODEL_INPUTS_BY_CLASS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  AudioEncoderLoader: { audio_encoder_name: "audio_encoders" },
  CheckpointLoader: { ckpt_name: "checkpoints", config_name: "configs" },
  CLIPVisionLoader: { clip_name: "clip_vision" },
  ImageOnlyCheckpointLoader: { ckpt_name: "checkpoints" },
  LatentUpscaleModelLoader: { model_name: "latent_upscale_models" },
  LoraModelLoader: {},
  ModelPatchLoader: { name: "model_patches" },
  PhotoMakerLoader: { photomaker_model_name: "photomaker" },
  UpscaleModelLoader: { model_name: "upscale_models" },
};

/**
 * Model folders by input name, for every other class: the core loaders (nodes.py and comfy_extras,
 * 0.3.64) and the custom nodes that took their names over.
 */
export const MODEL_INPUTS: Readonly<Record<string, string>> = {
  ckpt_name: "checkpoints",
  clip_name: "text_encoders",
  clip_name1: "text_encoders",
  clip_name2: "text_encoders",
  clip_name3: "text_encoders",
  clip_name4: "text_encoders",
  clip_vision_name: "clip_vision",
  control_net_name: "controlnet",
  gligen_name: "gligen",
  hypernetwork_name: "hypernetworks",
  ipadapter_file: "ipadapter",
  instantid_file: "instantid",
  lora_name: "loras",
  pulid_file: "pulid",
  style_model_name: "style_models",
  unet_name: "diffusion_models",
  upscale_model_name: "upscale_models",
  vae_name: "vae",
};

/**
 * Values of model inputs that name no file: choices for "nothing", and what ComfyUI makes itself or
 * from `vae_approx` (`vae_list` in nodes.py).
 */
export const NO_MODEL_FILE: ReadonlySet<string> = new Set([
  "",
  "None",
  "none",
  "[None]",
  "Baked VAE",
  "pixel_space",
  "taesd",
  "taesdxl",
  "taesd3",
  "taef1",
]);

/** Inputs that name a file of the instance's input folder, by class. */
export const FILE_INPUTS_BY_CLASS: Readonly<Record<string, readonly string[]>> = {
  Load3D: ["model_file"],
  Load3DAnimation: ["model_file"],
  LoadAudio: ["audio"],
  LoadImage: ["image"],
  LoadImageMask: ["image"],
  LoadImageOutput: ["image"],
  LoadImageSetNode: ["images"],
  LoadLatent: ["latent"],
  LoadVideo: ["file"],
  VHS_LoadAudioUpload: ["audio"],
  VHS_LoadVideo: ["video"],
};

/** Options by which `/object_info` marks an input as a file to upload (`UploadType` in _io.py). */
export const UPLOAD_OPTIONS: readonly string[] = [
  "image_upload",
  "audio_upload",
  "video_upload",
  "file_upload",
];
