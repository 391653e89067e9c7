/** What the machines of a run cost an hour. */
import type { RunFacts } from "@holdfast/load";
import { createApiClient, fieldOf, type ServerAddress } from "../api/api-client.ts";
import type { LoadTarget } from "./load-target.ts";

/** Null where nobody said: neither `--cost-per-hour`, nor a fleet that knows what its machines cost. */
export async function findPrice(
  costPerHour: number | null,
  target: LoadTarget,
  address: ServerAddress,
): Promise<RunFacts["price"]> {
  if (target.kind === "comfyui") return costPerHour === null ? null : dollars(costPerHour);
  const api = createApiClient(address);
  const get = async (path: string): Promise<unknown> => {
    const answer = await api.request(path);
    if (answer.kind !== "answered") return undefined;
    return await answer.response.json().catch(() => undefined);
  };
  if (costPerHour !== null) {
    const online = fieldOf(fieldOf(await get("/api/v1/stats"), "machines"), "online");
    // Nothing is online yet where a fleet is still to start its first: that one is paid as well.
    return dollars(costPerHour * Math.max(1, typeof online === "number" ? online : 1));
  }
  const cost = fieldOf(await get("/api/v1/fleet"), "costPerHour");
  return typeof cost === "number" && cost > 0 ? dollars(cost) : null;
}

function dollars(perHour: number): RunFacts["price"] {
  return { perHour, currency: "USD" };
}
