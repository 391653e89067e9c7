/** What a person writes to have machines from RunPod. */
import { z } from "zod";
import { absolutePath, oneOf, text, textLike, texts, wholeNumber } from "../settings-fields.ts";

/** Where RunPod's API is, since version 1 of it (`rest.runpod.io/v1`) was retired in November 2026. */
export const RUNPOD_API = "https://api.runpod.io/v2";

const version = textLike(/^\d+\.\d+$/, 'expected a version in quotes, such as "12.8"', 8);

/** The keys below `runpod:`. */
const fields = z.strictObject(
  {
    baseUrl: textLike(/^https?:\/\/\S+$/, "expected an http:// or https:// URL", 500)
      .default(RUNPOD_API)
      .describe("Where its API is; another one for a stand-in or a proxy."),
    apiKey: text(500).optional().describe("The key itself; a file is better."),
    apiKeyFile: absolutePath
      .optional()
      .describe("A file that holds the key and nothing else; read again whenever it is used."),
    image: text(500).optional().describe("The image that runs the agent."),
    templateId: text(100)
      .optional()
      .describe("A pod template; what is written here comes before what it says."),
    registryId: text(100)
      .optional()
      .describe("Credential for a private image, as RunPod lists it."),
    gpuTypes: texts(1, 20).describe(
      "As RunPod calls them (`NVIDIA GeForce RTX 4090`), the best first: each is asked for by itself.",
    ),
    dataCenters: texts(0, 20)
      .default([])
      .describe("The best first (`EU-RO-1`); without any, wherever there is room."),
    cloudType: oneOf(["SECURE", "COMMUNITY"])
      .default("SECURE")
      .describe("RunPod's own data centers, or hosts of others."),
    spot: z
      .literal("never", {
        error: "expected never, or no such key: version 2 of RunPod's API has no spot pods",
      })
      .default("never")
      .describe("Pods that may be taken away; RunPod has none any more."),
    gpuCount: wholeNumber(1, 16).default(1).describe("Cards of one machine."),
    minVcpuPerGpu: wholeNumber(1, 512).optional().describe("Virtual CPUs for each card, at least."),
    minRamGbPerGpu: wholeNumber(1, 4_096)
      .optional()
      .describe("GB of memory for each card, at least."),
    minCudaVersion: version.optional().describe("CUDA of the host, at least."),
    containerDiskGb: wholeNumber(1, 100_000)
      .optional()
      .describe("Disk that ends with the container; without it the template's, or RunPod's own."),
    volumeGb: wholeNumber(10, 100_000)
      .optional()
      .describe("Disk of the pod that outlives its container; it ends with the pod."),
    networkVolumeId: text(100)
      .optional()
      .describe("A network volume, which outlives every pod; instead of `volumeGb`."),
    volumePath: absolutePath.default("/workspace").describe("Where either is mounted."),
    ports: z
      .array(textLike(/^\d{1,5}\/(?:tcp|http)$/, 'expected a port such as "9090/tcp"', 10), {
        error: "expected a list of ports",
      })
      .max(20, "expected at most 20 ports")
      .default([])
      .describe(
        "Ports to be reached from outside; the first of kind tcp is the machine's address.",
      ),
    dockerStartCmd: texts(0, 100)
      .optional()
      .describe("Command in the container, one word an entry, instead of the image's own."),
    dockerEntrypoint: texts(0, 100).optional().describe("Likewise its entry point."),
    timeoutSeconds: wholeNumber(1, 600).default(60).describe("Until an answer has to be there."),
  },
  { error: "expected a mapping of settings" },
);

/** What is wrong with them together; each says what to do. */
const RULES: readonly (readonly [holds: (own: Fields) => boolean, words: string])[] = [
  [
    (own) => (own.apiKey === undefined) !== (own.apiKeyFile === undefined),
    "expected either `apiKeyFile` or `apiKey`: where RunPod's key is, or the key itself",
  ],
  [
    (own) => own.image !== undefined || own.templateId !== undefined,
    "expected `image` or `templateId`: what runs on the machine",
  ],
  [
    (own) => own.volumeGb === undefined || own.networkVolumeId === undefined,
    "expected at most one of `volumeGb` and `networkVolumeId`: RunPod mounts one volume in a pod",
  ],
  [
    (own) => isSafeUrl(own.baseUrl),
    "expected `baseUrl` to begin with https://: the key goes there, and only this host may be asked in clear",
  ],
  [
    (own) => !/^https?:\/\/rest\.runpod\.io(?:[:/]|$)/.test(own.baseUrl),
    `expected \`baseUrl\` to be of version 2 of RunPod's API (${RUNPOD_API}): version 1 was retired`,
  ],
];
type Fields = z.output<typeof fields>;

function isSafeUrl(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || /^(?:127(?:\.\d+){3}|localhost|\[::1\])$/.test(hostname);
}

/** Settings below `runpod:`. */
export const runpodSettingsSchema = fields.superRefine((own, context) => {
  for (const [holds, message] of RULES) {
    if (!holds(own)) context.addIssue({ code: "custom", message });
  }
});

/** Settings as they are used. */
export type RunpodSettings = z.output<typeof runpodSettingsSchema>;
