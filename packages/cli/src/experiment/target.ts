import { DEFAULT_SERVER_URL, serverAddress, type ServerAddress } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { DIRECT_IN_FLIGHT_MAX } from "./limits.ts";
import type { RunOptions } from "./options.ts";

/** On what an experiment's runs are rendered. */
export type Target =
  | { readonly kind: "comfyui"; readonly url: string; readonly inFlight: number }
  | { readonly kind: "holdfast"; readonly address: ServerAddress; readonly inFlight: number };

const HOLDFAST_IN_FLIGHT = 4;
const HOLDFAST_IN_FLIGHT_MAX = 500;

/**
 * A ComfyUI where one is named (`--server`, then `COMFYUI_URL`), else a Holdfast. Throws
 * {@link CommandFailure} when both are named, or what is named is no address.
 */
export function targetOf(
  options: Pick<RunOptions, "server" | "holdfast" | "apiKey" | "inFlight">,
  comfyuiUrls: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Target {
  const { server, holdfast } = options;
  if (server !== undefined && holdfast !== undefined) {
    throw refused("expected --server or --holdfast, found both: runs are rendered on one of them");
  }
  if (server === undefined && (holdfast !== undefined || comfyuiUrls.length === 0)) {
    const address = serverAddress({ url: holdfast, apiKey: options.apiKey }, env);
    return { kind: "holdfast", address, inFlight: inFlightOf(options, "holdfast") };
  }
  if (server === undefined && comfyuiUrls.length > 1) {
    throw refused(
      `COMFYUI_URL names ${comfyuiUrls.length} ComfyUIs, and an experiment renders on one: choose it ` +
        `with --server URL, or render on all of them through a Holdfast: --holdfast ${DEFAULT_SERVER_URL}`,
    );
  }
  const url = server ?? comfyuiUrls[0] ?? "";
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    const expected = "expected an address such as http://127.0.0.1:8188";
    throw refused(`--server: ${expected}, found ${JSON.stringify(url)}`);
  }
  const inFlight = inFlightOf(options, "comfyui");
  return { kind: "comfyui", url: url.replace(/\/+$/, ""), inFlight };
}

function inFlightOf({ inFlight }: Pick<RunOptions, "inFlight">, kind: Target["kind"]): number {
  const max = kind === "comfyui" ? DIRECT_IN_FLIGHT_MAX : HOLDFAST_IN_FLIGHT_MAX;
  if (inFlight !== undefined && inFlight > max) {
    const words = kind === "comfyui" ? "one ComfyUI" : "a Holdfast";
    throw refused(`--in-flight: expected 1 to ${max} on ${words}, found ${inFlight}`);
  }
  return inFlight ?? (kind === "comfyui" ? 1 : HOLDFAST_IN_FLIGHT);
}

function refused(message: string): CommandFailure {
  return new CommandFailure(EXIT.refused, message);
}
