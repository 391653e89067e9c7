import { CONTRACT_FAULTS, describeProvider } from "../../testing/provider-contract.ts";
import { openRunpodWorld } from "../../testing/runpod-world.ts";

describeProvider("runpod", {
  faults: CONTRACT_FAULTS,
  setUp: () => openRunpodWorld(0),
});

describeProvider("runpod with a list that lags", {
  faults: CONTRACT_FAULTS,
  setUp: () => openRunpodWorld(20_000),
});
