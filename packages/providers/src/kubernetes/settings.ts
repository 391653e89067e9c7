/** What a pool of pods goes by: the block `kubernetes` of a pool in `fleet.yaml`. */
import { z } from "zod";

/** Label of nodes that tells their zone. */
export const ZONE_LABEL = "topology.kubernetes.io/zone";

/** Longest text of any single value. */
const TEXT_MAX = 2_048;
/** Most entries of any list. */
const LIST_MAX = 100;
/** Longest value of a label. */
const LABEL_MAX = 63;

const text = z.string().min(1).max(TEXT_MAX);
const absolutePath = z.string().max(1_024).startsWith("/", "expected an absolute path");
/** Names of most things in a cluster (RFC 1123 subdomain). */
const objectName = z
  .string()
  .max(253)
  .regex(
    /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/,
    "expected a name of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit",
  );
const namespaceName = z
  .string()
  .max(LABEL_MAX)
  .regex(
    /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/,
    "expected a name of a-z, 0-9 and '-', beginning and ending with a letter or digit",
  );
/** `nvidia.com/gpu.product`, `zone`. */
const labelKey = z
  .string()
  .max(253 + 1 + LABEL_MAX)
  .regex(
    /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
    "expected a label's name like nvidia.com/gpu.product",
  );
const labelValue = z
  .string()
  .regex(
    /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/,
    `expected a label's value: at most ${LABEL_MAX} letters, digits, '.', '_' and '-', beginning and ending with a letter or digit`,
  );
const nodeLabelValue = labelValue.min(1);
/** `4`, `500m`, `16Gi`. */
const quantity = z
  .union([
    z.number().min(0),
    z
      .string()
      .regex(
        /^\d+(?:\.\d+)?(?:m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$/,
        "expected an amount like 4, 500m or 16Gi",
      ),
  ])
  .transform(String);
const amounts = z.record(labelKey, quantity).default({});

const resourcesSchema = z.strictObject({
  requests: amounts.describe("What a pod is promised: `cpu`, `memory`, `ephemeral-storage`, …."),
  limits: amounts.describe("What it may take at most; GPUs are `gpus`."),
});

const tolerationSchema = z.strictObject({
  key: labelKey.optional().describe("Of the taint; without it every taint, with `Exists`."),
  operator: z.enum(["Equal", "Exists"]).default("Equal").describe("`Exists`: whatever its value."),
  value: labelValue.optional().describe("Of the taint."),
  effect: z
    .enum(["NoSchedule", "PreferNoSchedule", "NoExecute"])
    .optional()
    .describe("Of the taint; without it all of them."),
  tolerationSeconds: z
    .int()
    .min(0)
    .optional()
    .describe("Seconds that a `NoExecute` taint is borne; without it for ever."),
});

const volumeSchema = z.strictObject({
  claim: objectName.describe("Name of a PersistentVolumeClaim of the namespace."),
  mountPath: absolutePath.describe("Where it is in the pod."),
  subPath: text.optional().describe("Folder in it that is mounted instead of all of it."),
  readOnly: z.boolean().default(false).describe("Whether it is only read."),
});

/** The keys of the block. */
const fields = z.strictObject({
  kubeconfig: absolutePath
    .optional()
    .describe("File that says where the cluster is; without it the cluster that this runs in."),
  context: text.optional().describe("Context of that file; without it its current one."),
  namespace: namespaceName.default("default").describe("Where the pods are made."),
  image: text.describe("Image with an agent in it that starts by itself."),
  command: z
    .array(z.string().max(TEXT_MAX))
    .min(1)
    .max(LIST_MAX)
    .optional()
    .describe("Takes the place of the image's entry point."),
  args: z
    .array(z.string().max(TEXT_MAX))
    .max(LIST_MAX)
    .optional()
    .describe("Takes the place of the image's arguments."),
  imagePullPolicy: z
    .enum(["Always", "IfNotPresent", "Never"])
    .optional()
    .describe("When the image is fetched; without it as the cluster does for the image's tag."),
  imagePullSecrets: z
    .array(objectName)
    .max(LIST_MAX)
    .default([])
    .describe("Names of Secrets of the namespace that the image is fetched with."),
  gpus: z.int().min(0).max(64).default(1).describe("GPUs of a pod."),
  gpuResource: labelKey
    .default("nvidia.com/gpu")
    .describe("What the cluster calls a GPU, or a slice of one (`nvidia.com/mig-3g.40gb`)."),
  gpuTypes: z
    .array(nodeLabelValue)
    .max(LIST_MAX)
    .default([])
    .describe("Types of GPU, the best first, as nodes are labelled; none: any."),
  gpuTypeLabel: labelKey
    .default("nvidia.com/gpu.product")
    .describe("Label of nodes that tells their type of GPU."),
  zones: z
    .array(nodeLabelValue)
    .max(LIST_MAX)
    .default([])
    .describe("Zones, the best first (`topology.kubernetes.io/zone` of nodes); none: any."),
  nodeSelector: z
    .record(labelKey, labelValue)
    .default({})
    .describe("Further labels that a node must have."),
  tolerations: z
    .array(tolerationSchema)
    .max(LIST_MAX)
    .default([])
    .describe("Taints of nodes that are borne."),
  runtimeClass: objectName.optional().describe("RuntimeClass of the pods (`nvidia`)."),
  serviceAccount: objectName
    .optional()
    .describe("ServiceAccount of the pods; without it they get no token of the cluster."),
  resources: resourcesSchema.prefault({}).describe("Processors, memory and the like."),
  volumes: z.array(volumeSchema).max(LIST_MAX).default([]).describe("Volumes that are mounted."),
  terminationGraceSec: z
    .int()
    .min(0)
    .max(86_400)
    .default(60)
    .describe("Seconds that a pod has to end by itself before it is killed."),
  scheduleTimeoutSec: z
    .int()
    .min(1)
    .max(86_400)
    .default(120)
    .describe(
      "Seconds without a node after which there is no room for a pod; with an autoscaler, longer than a node takes.",
    ),
  keepEndedSec: z
    .int()
    .min(60)
    .max(7 * 86_400)
    .default(3_600)
    .describe("Seconds that a pod which has ended is kept, for its log."),
});
type Fields = z.output<typeof fields>;

/** A rule between the keys. It may meet values that are wrong by themselves. */
interface Rule {
  readonly at: keyof Fields;
  readonly message: string;
  readonly holds: (own: Partial<Fields>) => boolean;
}

const RULES: readonly Rule[] = [
  {
    at: "context",
    message: "expected none without `kubeconfig`, which it is a part of",
    holds: ({ context, kubeconfig }) => context === undefined || kubeconfig !== undefined,
  },
  {
    at: "resources",
    message: "expected no GPUs in it: their number is `gpus`",
    holds: ({ resources, gpuResource = "" }) =>
      [resources?.limits, resources?.requests].every((one) => !hasKey(one, gpuResource)),
  },
  {
    at: "nodeSelector",
    message: "expected no type of GPU in it: that is `gpuTypes`",
    holds: ({ nodeSelector, gpuTypes, gpuTypeLabel = "" }) =>
      !hasEntries(gpuTypes) || !hasKey(nodeSelector, gpuTypeLabel),
  },
  {
    at: "nodeSelector",
    message: "expected no zone in it: that is `zones`",
    holds: ({ nodeSelector, zones }) => !hasEntries(zones) || !hasKey(nodeSelector, ZONE_LABEL),
  },
];

function hasEntries(list: unknown): boolean {
  return Array.isArray(list) && list.length > 0;
}

function hasKey(mapping: unknown, key: string): boolean {
  return typeof mapping === "object" && mapping !== null && Object.hasOwn(mapping, key);
}

/** The whole block. What belongs to a pool of any provider is in `config/model.ts`. */
export const kubernetesSettingsSchema = RULES.reduce(
  (schema, { at, message, holds }) =>
    schema.refine((own) => holds(own), {
      path: [at],
      message,
      // Told beside what is wrong with single keys, not after it.
      when: ({ value }) => typeof value === "object" && value !== null,
    }),
  fields,
);

/** The block with all its defaults. */
export type KubernetesSettings = Fields;
