/** `--scenario`: the target with a fault for the time of a run. */
import type { Graph } from "@holdfast/comfyui/protocol";
import type { Clock, Random } from "@holdfast/runtime";
import { createApiClient, type ServerAddress } from "../api/api-client.ts";
import { listInstances } from "../api/machine-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { beginLoadScenario } from "../fault/load-scenario.ts";
import type { LoadTarget } from "./load-target.ts";
import { openTarget } from "./open-target.ts";

/** A target, and what is done to it. */
export interface FaultyTarget {
  /** Reached as the fault wants it; told as what it is. Closes the one that it was made of. */
  readonly target: LoadTarget;
  readonly name: string;
  /** In words. */
  readonly how: string;
  graphFor(index: number, graph: Graph): Graph;
  /** Undoes the fault; how often it struck, null where that cannot be counted. */
  end(): Promise<number | null>;
}

/** Begins a fault; throws {@link CommandFailure} where there is no such one, or none can be made here. */
export async function openFaultyTarget(
  name: string,
  target: LoadTarget,
  address: ServerAddress,
  system: { readonly clock: Clock; readonly random: Random },
): Promise<FaultyTarget> {
  const scenario = await beginLoadScenario(name, {
    server: address.baseUrl,
    kind: target.kind,
    comfyuis: target.kind === "holdfast" ? await addressesOf(address) : [],
    ...system,
  });
  if (scenario.kind !== "begun") {
    const words =
      scenario.kind === "unknown"
        ? `there is no scenario ${name}; there are ${scenario.known.join(", ")}`
        : `${name} cannot be made here: ${scenario.why}`;
    throw new CommandFailure(EXIT.refused, `--scenario: ${words}. No load was sent.`);
  }
  const { how, server } = scenario;
  const rest = {
    name,
    how,
    graphFor: (index: number, graph: Graph) => scenario.graphFor(index, graph),
    end: () => scenario.end(),
  };
  if (server === address.baseUrl) return { target, ...rest };
  try {
    const reached = await openTarget({
      address: { ...address, baseUrl: server },
      kind: target.kind,
      ...system,
    });
    const { kind, url, version } = target;
    const cards = target.cards?.bind(target);
    return {
      target: {
        kind,
        url,
        version,
        render: (job, signal) => reached.render(job, signal),
        ...(cards !== undefined && { cards }),
        async close() {
          await reached.close();
          await target.close();
        },
      },
      ...rest,
    };
  } catch (error) {
    await scenario.end();
    throw error;
  }
}

/** Addresses of a Holdfast's ComfyUIs; none where it does not tell. */
async function addressesOf(address: ServerAddress): Promise<readonly string[]> {
  const instances = (await listInstances(createApiClient(address))) ?? [];
  return instances.map(({ url }) => url).filter((url) => url !== "");
}
