/** What is asked of a cluster for one machine: a pod, and a Secret with its environment. Pure. */
import type { MachineOffer, MachineRequest } from "@holdfast/fleet";
import type {
  V1Container,
  V1Pod,
  V1PodSpec,
  V1ResourceRequirements,
  V1Secret,
  V1Volume,
  V1VolumeMount,
} from "@kubernetes/client-node";
import type { FleetLabel } from "../label.ts";
import { ZONE_LABEL, type KubernetesSettings } from "./settings.ts";

/** Labels of our pods and Secrets. */
export const POD_LABELS = {
  managedBy: "app.kubernetes.io/managed-by",
  fleet: "holdfast.dev/fleet",
  pool: "holdfast.dev/pool",
  machine: "holdfast.dev/machine",
} as const;
const MANAGER = "holdfast";
/** Our container of a pod: the cluster may inject others. */
export const CONTAINER = "agent";

/** What finds the pods of a pool, and no others. */
export function podSelector({ fleet, pool }: FleetLabel): string {
  const { managedBy, fleet: fleetLabel, pool: poolLabel } = POD_LABELS;
  return `${managedBy}=${MANAGER},${fleetLabel}=${fleet},${poolLabel}=${pool}`;
}

/** Whether a pod is the machine of this name of this pool: nobody else's pod is taken for it. */
export function isOurPod(pod: V1Pod, label: FleetLabel, name: string): boolean {
  const found = pod.metadata?.labels ?? {};
  return Object.entries(labelsOf(label, name)).every(([key, value]) => found[key] === value);
}

/** The pod of a machine. Its environment is in the Secret of the same name, which is made after it. */
export function podOf(
  { name, offer }: Pick<MachineRequest, "name" | "offer">,
  label: FleetLabel,
  settings: KubernetesSettings,
): V1Pod {
  const { volumes, mounts } = volumesOf(settings);
  const container: V1Container = {
    name: CONTAINER,
    image: settings.image,
    ...(settings.command === undefined ? {} : { command: settings.command }),
    ...(settings.args === undefined ? {} : { args: settings.args }),
    ...(settings.imagePullPolicy === undefined
      ? {}
      : { imagePullPolicy: settings.imagePullPolicy }),
    envFrom: [{ secretRef: { name } }],
    resources: resourcesOf(settings),
    volumeMounts: mounts,
  };
  const spec: V1PodSpec = {
    // A machine that has ended is ended: another one has another name.
    restartPolicy: "Never",
    containers: [container],
    volumes,
    nodeSelector: nodeSelectorOf(offer, settings),
    tolerations: settings.tolerations.map(withoutMissing),
    imagePullSecrets: settings.imagePullSecrets.map((secret) => ({ name: secret })),
    terminationGracePeriodSeconds: settings.terminationGraceSec,
    // Addresses of other services as variables are none of a machine's settings.
    enableServiceLinks: false,
    ...(settings.runtimeClass === undefined ? {} : { runtimeClassName: settings.runtimeClass }),
    ...(settings.serviceAccount === undefined
      ? { automountServiceAccountToken: false }
      : { serviceAccountName: settings.serviceAccount }),
  };
  const metadata = { name, namespace: settings.namespace, labels: labelsOf(label, name) };
  return { apiVersion: "v1", kind: "Pod", metadata, spec };
}

/** A pod's environment. It goes with its pod: the cluster removes it then. */
export function secretOf(
  pod: { readonly name: string; readonly uid: string },
  env: Readonly<Record<string, string>>,
  label: FleetLabel,
  settings: KubernetesSettings,
): V1Secret {
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name: pod.name,
      namespace: settings.namespace,
      labels: labelsOf(label, pod.name),
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: pod.name, uid: pod.uid }],
    },
    type: "Opaque",
    immutable: true,
    stringData: { ...env },
  };
}

/** What a pod was made from, as its selector of nodes says. */
export function offerOfPod(pod: V1Pod, settings: KubernetesSettings): MachineOffer {
  const selector = pod.spec?.nodeSelector ?? {};
  return {
    gpuType: selector[settings.gpuTypeLabel] ?? null,
    zone: selector[ZONE_LABEL] ?? null,
    isSpot: false,
  };
}

function labelsOf({ fleet, pool }: FleetLabel, name: string): Record<string, string> {
  return {
    [POD_LABELS.managedBy]: MANAGER,
    [POD_LABELS.fleet]: fleet,
    [POD_LABELS.pool]: pool,
    [POD_LABELS.machine]: name,
  };
}

function nodeSelectorOf(
  { gpuType, zone }: MachineOffer,
  { nodeSelector, gpuTypeLabel }: KubernetesSettings,
): Record<string, string> {
  return {
    ...nodeSelector,
    ...(gpuType === null ? {} : { [gpuTypeLabel]: gpuType }),
    ...(zone === null ? {} : { [ZONE_LABEL]: zone }),
  };
}

function resourcesOf({ resources, gpus, gpuResource }: KubernetesSettings): V1ResourceRequirements {
  // Of what is counted in devices the request is the limit: only that need be said.
  const devices = gpus === 0 ? {} : { [gpuResource]: String(gpus) };
  return { requests: resources.requests, limits: { ...resources.limits, ...devices } };
}

function volumesOf(settings: KubernetesSettings): {
  readonly volumes: V1Volume[];
  readonly mounts: V1VolumeMount[];
} {
  // One volume a claim, however often it is mounted.
  const claims = [...new Set(settings.volumes.map(({ claim }) => claim))];
  const nameOf = (claim: string): string => `claim-${claims.indexOf(claim)}`;
  return {
    volumes: claims.map((claim) => ({
      name: nameOf(claim),
      persistentVolumeClaim: { claimName: claim },
    })),
    mounts: settings.volumes.map(({ claim, mountPath, subPath, readOnly }) => ({
      name: nameOf(claim),
      mountPath,
      readOnly,
      ...(subPath === undefined ? {} : { subPath }),
    })),
  };
}

/** The same without keys that have no value: the client would send them as they are. */
function withoutMissing<T extends object>(from: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(from).filter(([, value]) => value !== undefined),
  ) as never;
}
