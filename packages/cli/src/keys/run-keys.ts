import { fieldOf } from "../api/api-client.ts";
import { toList } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { parseDuration } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import type { KeyRing, KeyRow } from "./key-ring.ts";
import type { KeysOptions } from "./options.ts";

/** Most keys listed. */
const MAX_LISTED = 500;
const ROLES = ["admin", "operator", "user", "agent"];

/** `holdfast keys create`. */
export async function create(
  _argument: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  const role = options.role ?? "user";
  if (!ROLES.includes(role)) {
    throw new CommandFailure(EXIT.refused, `--role: expected ${ROLES.join(", ")}, found ${role}`);
  }
  const lastsMs = options.expires === undefined ? null : parseDuration(options.expires);
  if (lastsMs === undefined) {
    throw new CommandFailure(EXIT.refused, "--expires: expected a duration such as 90d");
  }
  await withKeyRing(options, context, async (ring) => {
    const made = await ring.create({ name: options.name ?? "", role, lastsMs });
    if (options.json === true) {
      context.terminal.line(JSON.stringify(made));
      return;
    }
    context.terminal.note(`made key ${made.key.id} (${role}). It is shown only now:`);
    context.terminal.line(made.text);
  });
}

/** `holdfast keys list`. */
export async function list(
  _argument: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  await withKeyRing(options, context, async (ring) => {
    const keys = await ring.list(MAX_LISTED);
    if (options.json === true) {
      for (const key of keys) terminal.line(JSON.stringify(key));
    } else if (keys.length === 0) {
      terminal.note("no keys: everybody on this machine may do everything");
    } else {
      for (const line of textTable(keys, COLUMNS, terminal.columns)) terminal.line(line);
    }
  });
}

const COLUMNS: readonly Column<KeyRow>[] = [
  { head: "ID", cell: (key) => key.id },
  { head: "ROLE", cell: (key) => key.role },
  { head: "STATE", cell: (key) => (key.revokedAt === null ? "valid" : "revoked") },
  { head: "EXPIRES", cell: (key) => key.expiresAt ?? "never" },
  { head: "LAST USED", cell: (key) => key.lastUsedAt ?? "never" },
  { head: "NAME", cell: (key) => key.name },
];

/** `holdfast keys revoke`. */
export async function revoke(
  id: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  await withKeyRing(options, context, async (ring) => {
    const key = await ring.revoke(id);
    const text = `revoked ${key.id} (${key.name}); every replica refuses it within seconds`;
    context.terminal.line(options.json === true ? JSON.stringify(key) : text);
  });
}

async function withKeyRing(
  options: KeysOptions,
  context: CommandContext,
  use: (ring: KeyRing) => Promise<void>,
): Promise<void> {
  if (options.database === true) {
    // Only here, as it loads the database driver.
    const { withDatabaseKeys } = await import("./database-keys.ts");
    await withDatabaseKeys(options, context, use);
    return;
  }
  const api = apiClientFor(options, context);
  await use({
    async create({ name, role, lastsMs }) {
      const { systemClock } = await import("@holdfast/runtime/system");
      const expiresAt =
        lastsMs === null ? null : new Date(systemClock.now() + lastsMs).toISOString();
      const made = await api.json("/api/v1/keys", {
        method: "POST",
        json: { name, role, expiresAt },
      });
      return { key: fieldOf(made, "key") as KeyRow, text: String(fieldOf(made, "text")) };
    },
    async list(limit) {
      const page = await api.json(`/api/v1/keys?limit=${limit}`);
      return toList(page, "items") as readonly KeyRow[];
    },
    async revoke(id) {
      const path = `/api/v1/keys/${encodeURIComponent(id)}`;
      return (await api.json(path, { method: "DELETE" })) as KeyRow;
    },
  });
}
