import { fieldOf, type ApiClient } from "./api-client.ts";

/** An instance as a Holdfast lists it, as far as it tells. */
export interface ListedInstance {
  readonly machine: string;
  readonly name: string;
  readonly url: string;
  readonly state: string;
  readonly isSimulated: boolean;
}

/** The instances of all machines; undefined where they are not told: a key may not list them. */
export async function listInstances(
  api: ApiClient,
): Promise<readonly ListedInstance[] | undefined> {
  const answer = await api.request("/api/v1/machines");
  if (answer.kind !== "answered") return undefined;
  const machines = fieldOf(await answer.response.json().catch(() => undefined), "machines");
  if (!Array.isArray(machines)) return undefined;
  return machines.flatMap((machine: unknown) => {
    const instances = fieldOf(machine, "instances");
    if (!Array.isArray(instances)) return [];
    return instances.map((one: unknown) => ({
      machine: textOf(machine, "name"),
      name: textOf(one, "name"),
      url: textOf(one, "url"),
      state: textOf(one, "state"),
      isSimulated: fieldOf(one, "simulated") === true,
    }));
  });
}

function textOf(value: unknown, field: string): string {
  const text = fieldOf(value, field);
  return typeof text === "string" ? text : "";
}
