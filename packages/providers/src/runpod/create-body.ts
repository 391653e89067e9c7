/** What is sent to have a pod made. */
import type { MachineRequest } from "@holdfast/fleet";
import { LABEL_ENV, type FleetLabel } from "../label.ts";
import { podName } from "./pod.ts";
import type { RunpodSettings } from "./settings.ts";

/** RunPod refuses larger ones (413), and counts what a template adds. */
export const CREATE_BYTES_MAX = 102_400;

/**
 * The body of `POST /pods`, by the description of version 2: names that it does not know are refused
 * there. A pod is always on demand; the API has no other.
 */
export function createBody(
  request: MachineRequest,
  settings: RunpodSettings,
  label: FleetLabel,
): Record<string, unknown> {
  const { offer } = request;
  return withoutUndefined({
    name: podName(label, request.name),
    image: settings.image,
    templateId: settings.templateId,
    registry: settings.registryId,
    cloud: settings.cloudType,
    gpu: withoutUndefined({
      id: offer.gpuType,
      count: settings.gpuCount,
      minVcpuCountPerGpu: settings.minVcpuPerGpu,
      minRamPerGpu: settings.minRamGbPerGpu,
      minCudaVersion: settings.minCudaVersion,
    }),
    dataCenterIds: offer.zone === null ? undefined : [offer.zone],
    disk: settings.containerDiskGb,
    mounts: mountsOf(settings),
    ports: settings.ports.length === 0 ? undefined : settings.ports,
    env: machineEnv(request, label),
    cmd: settings.dockerStartCmd,
    entrypoint: settings.dockerEntrypoint,
  });
}

/** What the machine is given, and over it the label. */
function machineEnv(request: MachineRequest, label: FleetLabel): Record<string, string> {
  return {
    ...request.env,
    [LABEL_ENV.fleet]: label.fleet,
    [LABEL_ENV.pool]: label.pool,
  };
}

function mountsOf(settings: RunpodSettings): Record<string, unknown> | undefined {
  const { volumeGb, networkVolumeId, volumePath: path } = settings;
  if (networkVolumeId !== undefined) return { network: [{ volumeId: networkVolumeId, path }] };
  return volumeGb === undefined ? undefined : { persistent: { size: volumeGb, path } };
}

function withoutUndefined(record: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}
