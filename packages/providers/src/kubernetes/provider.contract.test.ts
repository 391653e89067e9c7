import { KUBERNETES_FAULTS, openKubernetesWorld } from "../../testing/kubernetes-world.ts";
import { describeProvider } from "../../testing/provider-contract.ts";

describeProvider("kubernetes", { faults: KUBERNETES_FAULTS, setUp: openKubernetesWorld });
