/** What `docs/fleet-yaml.md` is made of. */
import { schemaReference, schemaTree, type SchemaKey } from "@holdfast/yaml-file";
import { fleetFileSchema } from "./model.ts";
import { PROVIDER_BLOCKS } from "./provider-blocks.ts";

/** Every key of `fleet.yaml` in the order of its schema, parents before what is in them. */
export function fleetReference(): readonly SchemaKey[] {
  return schemaReference(schemaTree(fleetFileSchema(PROVIDER_BLOCKS)));
}

/** A whole file, to begin with. */
export const FLEET_EXAMPLE = `# What this fleet should be. Every key: docs/fleet-yaml.md.
version: 1
fleet: studio
scaling:
  targetWaitSec: 120 # jobs should not wait longer
  coolDownSec: 600
  budgetPerHour: 25.0
pools: # filled in this order
  - name: a100
    provider: kubernetes
    max: 4
    pricePerHour: 1.9
    env: { LOG_LEVEL: info }
    envFiles: { HF_TOKEN: /run/secrets/hf-token }
    health: { port: 9090 }
    kubernetes:
      kubeconfig: /etc/holdfast/kubeconfig
      namespace: render
      image: registry.example.com/comfyui-agent:1
      gpuTypes: [NVIDIA-A100-SXM4-80GB, NVIDIA-L40S]
      tolerations:
        - { key: nvidia.com/gpu, operator: Exists }
      resources:
        requests: { cpu: 8, memory: 64Gi }
      volumes:
        - { claim: models, mountPath: /models, readOnly: true }
`;
