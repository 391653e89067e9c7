import type { Command } from "commander";
import { createApiClient, serverAddress, type ApiClient } from "../api/api-client.ts";
import type { CommandContext } from "../command-context.ts";

/** The options of every command that talks to a server. */
export interface ClientOptions {
  readonly url?: string;
  readonly apiKey?: string;
}

/** Adds `--url` and `--api-key`. */
export function withClientOptions(command: Command): Command {
  return command
    .option("--url <url>", "address of the server (HOLDFAST_URL; default http://127.0.0.1:8328)")
    .option("--api-key <key>", "API key (HOLDFAST_API_KEY)");
}

/** A client for the server that flags and environment name. */
export function apiClientFor(options: ClientOptions, context: CommandContext): ApiClient {
  return createApiClient(serverAddress(options, context.env));
}
