import { openKubernetesWorld } from "../../testing/kubernetes-world.ts";
import { CONTRACT_FAULTS, describeProvider } from "../../testing/provider-contract.ts";

describeProvider("kubernetes", { faults: CONTRACT_FAULTS, setUp: openKubernetesWorld });
