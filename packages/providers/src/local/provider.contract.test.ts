import { describeProvider } from "../../testing/provider-contract.ts";
import { openLocalWorld } from "../../testing/local-world.ts";

describeProvider("local", {
  faults: ["capacity", "invalid"],
  setUp: () => openLocalWorld(),
});
